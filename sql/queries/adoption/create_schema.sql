-- Without IF NOT EXISTS, which asks for the right to make it anyway; that may have been taken back since.
CREATE SCHEMA crm_sync
