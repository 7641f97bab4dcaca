-- The time by the database's clock, which decides what is due.
SELECT clock_timestamp() AS now
