-- The demo's application: the outcome of every contact in each CRM.
SELECT
    email,
    first_name,
    last_name,
    phone,
    hubspot_sync_status,
    hubspot_processing_error,
    brevo_sync_status,
    brevo_processing_error,
    mautic_sync_status,
    mautic_processing_error,
    n8n_sync_status,
    n8n_processing_error,
    hubspot_contact_id,
    brevo_contact_id,
    mautic_contact_id,
    n8n_workflow_id
FROM public.contacts
