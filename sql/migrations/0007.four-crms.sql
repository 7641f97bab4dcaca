-- HubSpot has three of its columns already; n8n names its id after what it is there.

DO $$
BEGIN
    PERFORM crm_sync.add_crm('hubspot');
    PERFORM crm_sync.add_crm('brevo');
    PERFORM crm_sync.add_crm('mautic');
    PERFORM crm_sync.add_crm('n8n', 'n8n_workflow_id');
END;
$$;
