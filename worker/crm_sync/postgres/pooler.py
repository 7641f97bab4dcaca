"""What users are told about a transaction pooler, which gives each statement to whichever session is free. How it is noticed:

prepared statements, settings   are refused, with an SQLSTATE of `crm_sync.postgres.sqlstates` LISTEN succeeds, but never
delivers: `crm_sync.postgres.listen_check` advisory locks                  would belong to any session: an adoption compares
process ids, in `crm_sync.adoption.migrations`
"""

_DIRECT = "a direct connection to the same database"

LEADS_THROUGH = (
    f"DATABASE_URL (or LISTEN_DATABASE_URL) leads through a transaction pooler: set LISTEN_DATABASE_URL to {_DIRECT}, and "
    "DATABASE_BEHIND_POOLER=true"
)
UNHEARD = (
    "LISTEN_DATABASE_URL (or DATABASE_URL): a notification sent through the pool did not arrive. "
    f"It must be {_DIRECT}, not one through a transaction pooler"
)
