"""Settings of every crm-sync session, whatever the database or the role sets for applications.

One list, for the pool, a worker's session, the commands, migrations and adoptions. Behind a transaction pooler none of them takes
effect: there the statements are correct by themselves as far as possible, and `crm-sync check` asks for an ALTER ROLE for the
rest.

default_transaction_read_only is not among them, because administrators, and hosts with a full disk, use it to stop writes:
workers wait until it is off. session_replication_role is not either, because setting it needs a special privilege.
"""

# Operators and functions are looked up only there: otherwise an exact match in any schema of the path wins over one in
# pg_catalog, and a role that can create one there could have it run by any role with that path (CVE-2018-1058).
SAFE_PATH = ("pg_catalog", "pg_temp")

# How values are written as text. lc_monetary is not set: without the original there is no telling how many digits of a money are
# cents.
STYLES = {
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}

# What our statements depend on: how they are parsed, what they see, and how long they may take.
RESTED_ON = {
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "row_security": "on",  # off raises an error where a policy applies
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
# PostgreSQL 17 or newer; older ones do not know it, and refuse a connection that sets it.
SINCE_17 = {"transaction_timeout": "0"}

OF_POOL = {
    **PINNED,
    "application_name": "crm-sync",
    # A worker that freezes in the middle of a transaction blocks the application's rows no longer than this.
    "idle_in_transaction_session_timeout": "60s",
    # A claim or finish lost in a crash of the database only repeats an upsert.
    "synchronous_commit": "off",
    # Each statement of ours is written for one plan, over one index. The plan is cached, which saves the server a third of the
    # work for a single contact, and it must not suit only the table as it was then, perhaps empty: so sequential scans are off.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

# The server notices a silent disconnect within 12 s, and releases our locks.
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
    # The session's data is only of the moment. An unavailable synchronous standby must not keep a worker from starting or ending.
    "synchronous_commit": "off",
}

OF_EAR = {
    **PINNED,
    **_SOON_MISSED,
    "application_name": "crm-sync ear",
}

# The timeouts of a role or database are too short for creating an index on a large table.
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
