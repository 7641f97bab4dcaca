-- Without IF NOT EXISTS, which requires the CREATE privilege even if the schema exists; that may have been revoked since.
CREATE SCHEMA crm_sync
