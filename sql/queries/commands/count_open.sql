-- The demo's application: how many contacts are not done yet, by CRM. It has no other way to see the progress of its flips.
SELECT
    count(*) FILTER (WHERE hubspot_sync_status IN ('Queued', 'Processing')) AS hubspot,
    count(*) FILTER (WHERE brevo_sync_status IN ('Queued', 'Processing')) AS brevo,
    count(*) FILTER (WHERE mautic_sync_status IN ('Queued', 'Processing')) AS mautic,
    count(*) FILTER (WHERE n8n_sync_status IN ('Queued', 'Processing')) AS n8n
FROM public.contacts
