-- Deletes data that no alert needs any more, and alerts that ended long ago.
WITH
old_codes AS (
    DELETE FROM crm_sync.alert_codes WHERE seen_at < clock_timestamp() - interval '30 days'
)

DELETE FROM crm_sync.alerts WHERE ended_at < clock_timestamp() - interval '30 days'
