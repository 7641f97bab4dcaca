"""The advisory locks of crm-sync: the one place of their numbers. Each is a session's, so that Postgres frees it when that ends.

Any role that may connect can take any of them. None says more than a worker's word in a table does: `crm_sync.living_workers`.

Statements name them by psql variables (`:bell_lock`), which are put in by `crm_sync.postgres.statements`. Migrations are never
edited, so they hold numbers; tests/postgres/test_locks.py compares.
"""

ADOPTION = 1668443496  # the one who migrates or adopts; second key 0
BELL = 1668443497  # the bell of a lane, armed: flips ring; second key: id of the lane
WORKER = 1668443499  # a worker that lives; second key: id of the worker
# An address in a request; one key of 64 bits: a hash of CRM and address, with this seed. And as two keys, the second 0: that
# addresses are to be locked. Every worker has it shared; one that is alone can have it exclusively, and then locks none.
ADDRESS_SEED = 1668443500
COUNT = 1668443513  # the worker that counts; second key: what, one of these
CONTACTS = 0  # all contacts, for `crm_sync.snapshot`
METRICS = 1  # what metrics tell of all workers

VARIABLES = {
    "adoption_lock": str(ADOPTION),
    "bell_lock": str(BELL),
    "worker_lock": str(WORKER),
    "address_seed": str(ADDRESS_SEED),
    "count_lock": str(COUNT),
}
