DO $$
BEGIN
    PERFORM crm_sync.remove_crm('n8n');
    PERFORM crm_sync.remove_crm('mautic');
    PERFORM crm_sync.remove_crm('brevo');
    PERFORM crm_sync.remove_crm('hubspot');
END;
$$;
