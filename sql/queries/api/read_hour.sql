-- Deliveries and failures in each of the last 60 minutes, for every CRM. Empty minutes have no row.
SELECT
    m.crm,
    (extract(EPOCH FROM date_trunc('minute', statement_timestamp()) - m.minute) / 60)::integer AS minutes_ago,
    sum(m.delivered)::integer AS delivered,
    sum(m.retried + m.rejected)::integer AS failed
FROM crm_sync.minutes AS m
WHERE
    m.minute > date_trunc('minute', statement_timestamp()) - interval '60 minutes'
    AND m.minute <= statement_timestamp()
GROUP BY
    m.crm,
    m.minute
