"""What every session of crm-sync sets for itself, whatever a database or a role sets for its applications.

One list, for the pool, the session of a worker, the commands, migrations and adoptions. Behind a transaction pooler none of it
arrives: there the statements are right by themselves as far as they can be, and `crm-sync check` asks for an ALTER ROLE for the
rest.

default_transaction_read_only is not among them, because it is how an administrator, or a host whose disk is full, says that
nothing may be written: it is waited for. session_replication_role is not, because it takes a right of its own to say.
"""

# Operators and functions are looked up there, and nowhere else: of equal ones an exact match in any schema of the path wins over
# one in pg_catalog, so that who may create one there could have it run by anyone who has it on the path (CVE-2018-1058).
SAFE_PATH = ("pg_catalog", "pg_temp")

# How values are written as text. Not lc_monetary: without it there is no telling how many of the digits of a money are cents.
STYLES = {
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}

# What our statements rest on: how they are read, what they see, and that they may take their time.
RESTED_ON = {
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "row_security": "on",  # off: what a policy lets through is refused anyway
    "lock_timeout": "0",
    "exit_on_error": "off",
}

PINNED = {
    **RESTED_ON,
    **STYLES,
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# PostgreSQL 17 or newer; an older one knows it not, and would let nobody in who sets it.
SINCE_17 = {"transaction_timeout": "0"}

OF_POOL = {
    **PINNED,
    "application_name": "crm-sync",
    # A worker that is frozen in the middle of a transaction keeps no row from its application for longer.
    "idle_in_transaction_session_timeout": "60s",
    # A lost claim or finish after a crash of the database only repeats an upsert.
    "synchronous_commit": "off",
    # Each statement of ours is written for one plan, over one index. It is made once, which spares the server a third of the work
    # for a single contact, and it must not be the plan of the table as it was then, perhaps empty: so no scan of the table.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

# The server notices within 12 s that we are gone without a word, and frees our locks.
_SOON_MISSED = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "12000",
}

OF_SESSION = {
    **PINNED,
    **_SOON_MISSED,
    "application_name": "crm-sync session",
    # What it writes is of this moment only. A synchronous standby that is away must keep nobody from starting or ending.
    "synchronous_commit": "off",
}

OF_EAR = {
    **PINNED,
    **_SOON_MISSED,
    "application_name": "crm-sync ear",
}

# A role's or database's timeouts are too short for an index of a large table.
OF_ADOPTION = {
    **PINNED,
    "application_name": "crm-sync adopt",
}


def search_path(mapping_path: tuple[str, ...] = ()) -> dict[str, str]:
    """The search_path setting. mapping_path: additional schemas that mapping expressions need."""
    first, last = SAFE_PATH
    return {"search_path": ", ".join([first, *map(_quoted, mapping_path), last])}


def _quoted(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'
