-- Whether the database is read-only: a standby, or default_transaction_read_only is on. A standby may be promoted at any time, so
-- this is checked again.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only
