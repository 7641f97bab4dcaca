-- One pass over the contacts table for all CRMs: contacts by CRM and state, their latest delivery, and when the pass began.
SELECT
    c.crm,
    c.state,
    c.contacts,
    c.latest,
    c.at
FROM crm_sync.count_contacts() AS c
