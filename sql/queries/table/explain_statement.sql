-- Planned, including the check of rights, but not run. Also works in a read-only database.
EXPLAIN :statement
