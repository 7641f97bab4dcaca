"""What users should know about the contacts table, in words: told at adoption, by `check`, and when the table changes later."""

from collections.abc import Sequence

WITHOUT_ROWS = (
    "the tables of crm-sync are empty, as after restoring a schema-only dump: run `crm-sync migrate`, which fills them again"
)


def flips_note(triggers: Sequence[str]) -> str:
    """triggers: the application's own that set a status, which crm_sync_catch does not see."""
    several = len(triggers) > 1
    return (
        f"The trigger{'s' if several else ''} {', '.join(triggers)} set{'' if several else 's'} a status before the row is "
        "written, which a worker sees only when it looks through the whole table, by default every 15 minutes"
    )


def loop_note(triggers: Sequence[str]) -> str:
    """triggers: the application's own that seem to flip whatever is written."""
    several = len(triggers) > 1
    return (
        f"The trigger{'s' if several else ''} {', '.join(triggers)} may flip a contact whenever a worker writes its row, so "
        "that it is sent without end: compare OLD and NEW, name columns (UPDATE OF), or leave the worker's role out: "
        "WHEN (current_user <> 'crm_worker')"
    )


def narrow_note(column: str, kind: str, declared: str, constraint: str | None) -> str:
    """A row of list_narrow_columns.sql: a column that refuses values which a worker may write."""
    match kind:
        case "short id":
            return (
                f"the column {column} ({declared}) is too short for the ids of most CRMs: a contact whose id does not fit ends "
                f"in Error with ROW_REFUSED. Make it varchar"
            )
        case "small number":
            return (
                f"the column {column} ({declared}) is too small for the ids of most CRMs: a contact whose id does not fit ends "
                f"in Error with ROW_REFUSED. Make it bigint or varchar"
            )
        case "short name":
            return f"the column {column} ({declared}) is too short for the name of a CRM: no failure can be written. Make it text"
        case "short reason":
            return f"the column {column} ({declared}) is short: reasons of failures are cut. Make it text"
    return (
        f"the constraint {constraint} applies to {column}: where it refuses what a worker writes, the contact ends in Error with "
        f"ROW_REFUSED"
    )


def rule_note(rule: str, crms: Sequence[str]) -> str:
    """rule: on DELETE, DO INSTEAD. crms: where deleted contacts are to be deleted."""
    return (
        f"because of the rule {rule}, a DELETE deletes no row, so no record is deleted in {' and '.join(crms)} either: flip the "
        "contact in the rule, so that the CRM is told"
    )


def obstacle(kind: str, name: str, table: str | None, key: str) -> str:
    """kind and name: a row of list_obstacles.sql. table: the adopted one, as SQL writes it; None if it is gone and only a copy
    exists. key: the column that identifies a row.
    """
    match kind:
        case "copy":
            return (
                f"the table that was adopted is {f'called {table}' if table else 'gone'} now, and {name} is another one: a tool "
                f"that changes tables through a copy has swapped them, and flips in the copy are not seen. Run `crm-sync adopt`, "
                f"which "
                "switches to it, and `crm-sync grants` for the worker's role"
            )
        case "rule":
            return (
                f"the table {table} has the rule {name} on its UPDATEs, so Postgres lets no worker claim: write it as a "
                f"trigger, and DROP RULE {name} ON {table}"
            )
    return (
        f"the key {key} of {table} is of the type {name}, and a key has to be one simple value: name another column that "
        f"identifies a row in CONTACTS_KEY"
    )
