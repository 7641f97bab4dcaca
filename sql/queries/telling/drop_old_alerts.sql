-- What alerts are no longer made of, and those that ended long ago.
WITH
old_codes AS (
    DELETE FROM crm_sync.alert_codes WHERE seen_at < clock_timestamp() - interval '30 days'
)

DELETE FROM crm_sync.alerts WHERE ended_at < clock_timestamp() - interval '30 days'
