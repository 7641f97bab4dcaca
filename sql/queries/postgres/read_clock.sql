-- The time by the clock of the database, which is the one that counts for all that is due.
SELECT clock_timestamp() AS now
