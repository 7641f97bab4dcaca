-- Planned, and begun as far as the rights are looked at, but not run. Also where nothing may be written.
EXPLAIN :statement
