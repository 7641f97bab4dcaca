"""The numbers of crm-sync's advisory locks. All are session-level, so that Postgres releases them when the session ends.

Any role that may connect can take any of them. So none counts for more than what a worker has written in a table:
`crm_sync.living_workers`.

Statements name them by psql variables (`:bell_lock`), which `crm_sync.postgres.statements` replaces. Migrations are never edited,
so they hold numbers; tests/postgres/test_locks.py compares.
"""

ADOPTION = 1668443496  # a migration or adoption in progress; second key 0
BELL = 1668443497  # the bell of a lane, armed: flips ring; second key: id of the lane
WORKER = 1668443499  # a living worker; second key: id of the worker
# An address in a request; one 64-bit key: a hash of CRM and address, with this seed. With two keys, the second 0: addresses must
# be locked. Every worker holds it shared; one that is alone can hold it exclusively, and then locks no addresses.
ADDRESS_SEED = 1668443500
COUNT = 1668443513  # the worker that counts; second key: what it counts, one of these
CONTACTS = 0  # all contacts, for `crm_sync.snapshot`
METRICS = 1  # the metrics that all workers share

VARIABLES = {
    "adoption_lock": str(ADOPTION),
    "bell_lock": str(BELL),
    "worker_lock": str(WORKER),
    "address_seed": str(ADDRESS_SEED),
    "count_lock": str(COUNT),
}
