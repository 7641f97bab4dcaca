-- The demo's application: it flips one contact for all four CRMs.
--
-- $1  text  the address
UPDATE public.contacts
SET
    hubspot_sync_status = 'Queued',
    brevo_sync_status = 'Queued',
    mautic_sync_status = 'Queued',
    n8n_sync_status = 'Queued'
WHERE email = $1
