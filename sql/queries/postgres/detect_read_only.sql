-- Whether nothing can be written here: a standby, or default_transaction_read_only is on. A standby may be promoted at any time,
-- so it is asked again.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only
