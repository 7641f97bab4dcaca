-- The demo's application: it flips all other contacts for all four CRMs.
UPDATE public.contacts
SET
    hubspot_sync_status = 'Queued',
    brevo_sync_status = 'Queued',
    mautic_sync_status = 'Queued',
    n8n_sync_status = 'Queued'
WHERE hubspot_sync_status = 'New'
