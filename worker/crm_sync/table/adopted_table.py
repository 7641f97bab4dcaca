"""The contacts table as the schema describes it, and what statements need to know about it for one CRM."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crm_sync.core.clearing import COLUMN as SENT
from crm_sync.core.clearing import RECORD_COLUMN as SENT_TO
from crm_sync.core.traceparent import COLUMN
from crm_sync.postgres.statements import quote

# For each CRM, after its name; in addition the id in the CRM, whose column is named differently for each.
OWN_COLUMNS = (
    "sync_status",
    "processing_status",
    "processing_error",
    "attempts",
    "due_at",
    "claimed_by",
    "synced_at",
    "flipped_at",
)
# Types of keys that cannot contain an address: history stores them unchanged.
_PLAIN_KEYS = ("pg_catalog.uuid", "pg_catalog.int2", "pg_catalog.int4", "pg_catalog.int8")
# Types of keys that the driver reads exactly, whatever the value. Keys of other types are texts here, as Postgres writes them:
# the driver has no object for some dates, takes others for infinity, and changes intervals; and its NaN does not equal itself.
_EXACT_KEYS = (*_PLAIN_KEYS, "pg_catalog.text", 'pg_catalog."varchar"')
# Shared by the CRMs.
ROLL_UP = ("retry_count", "last_retry_at", "next_retry_at", "last_failed_crm")


@dataclass(frozen=True, slots=True)
class AdoptedTable:
    """The contacts table. name: as SQL writes it. key: the column that identifies a row. email: the one with the address.

    types and declared: of its columns, without and with length modifiers. operators: the schema of the operators that compare a
    column's values in its indexes. own_path: the search_path of the role, for expressions that the user wrote. unique: the
    columns with a unique index. traced: flips carry a trace context, and this role may read it.
    """

    name: str
    is_partitioned: bool
    key: str
    email: str
    types: Mapping[str, str]
    declared: Mapping[str, str]
    operators: Mapping[str, str]
    own_path: str
    unique: frozenset[str] = frozenset()
    traced: bool = False

    def without_new(self, former: "AdoptedTable") -> "AdoptedTable":
        """With only those new columns that it had before."""
        return replace(
            self,
            types=_only(self.types, former.types),
            declared=_only(self.declared, former.types),
            operators=_only(self.operators, former.types),
            unique=self.unique & former.types.keys(),
            traced=self.traced and former.traced,
        )


def _only(columns: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in columns.items() if name in names}


@dataclass(frozen=True, slots=True)
class LaneTable:
    """The part of the schema about one CRM. id: second key of its advisory locks."""

    id: int
    crm: str
    remote_id_column: str
    variables: Mapping[str, str]

    @property
    def has_texts_as_keys(self) -> bool:
        """Keys may be, or contain, an address."""
        return bool(self.variables["key_name"])

    @classmethod
    def describe(cls, lane: Mapping[str, Any], table: "AdoptedTable") -> "LaneTable":
        """lane: a row of list_lanes.sql."""
        crm, remote_id = lane["crm"], lane["remote_id_column"]
        of_key = table.operators[table.key]
        finished = {*(f"{crm}_{column}" for column in OWN_COLUMNS), remote_id, *ROLL_UP}
        return cls(
            lane["id"],
            crm,
            remote_id,
            {
                **{column: quote(f"{crm}_{column}") for column in OWN_COLUMNS},
                "crm": crm,
                # ONLY: a table that inherits from it has no triggers, and rows with the same ctid.
                "contacts": table.name if table.is_partitioned else f"ONLY {table.name}",
                "own_path": table.own_path,
                "line": f"crm_sync.{quote(f'{crm}_line')}",
                "id": quote(table.key),
                "locator": quote(table.key) if table.is_partitioned else "ctid",
                "email": quote(table.email),
                "email_type": table.types[table.email],
                **_comparing("email_", table.operators[table.email]),
                # These two exist only if fields are emptied.
                "sent_fields": quote(f"{crm}_{SENT}"),
                "sent_to": quote(f"{crm}_{SENT_TO}"),
                "numbering": "",
                "trace": quote(COLUMN) if table.traced else "NULL::text",
                **_passing(table.types[table.key]),
                "key_name": "" if table.types[table.key] in _PLAIN_KEYS else "crm_sync.key_name",
                **_comparing("", of_key),
                **_comparing("locator_", of_key if table.is_partitioned else "pg_catalog"),
                "remote_id": quote(remote_id),
                # As a person reads them.
                "contacts_name": table.name,
                "email_name": table.email,
                "claimed_by_name": f"{crm}_claimed_by",
                "sync_status_name": f"{crm}_sync_status",
                "due_at_name": f"{crm}_due_at",
                "remote_id_name": remote_id,
                "remote_type": table.types[remote_id],
                **_comparing("remote_", table.operators[remote_id]),
                "sync_type": table.types[f"{crm}_sync_status"],
                "processing_type": table.types[f"{crm}_processing_status"],
                # The cast truncates a text that is too long for the column.
                "error_type": table.declared[f"{crm}_processing_error"],
                "other_retries": lane["other_retries"],
                "finish_lock": "NO KEY UPDATE" if table.unique.isdisjoint(finished) else "UPDATE",
            },
        )


def _passing(kind: str) -> dict[str, str]:
    """How a key gets to the driver and back. kind: its type."""
    if kind in _EXACT_KEYS:
        return {"id_type": kind, "as_read": "", "sent_key": kind, "sent_keys": f"{kind}[]"}
    return {"id_type": kind, "as_read": "::text", "sent_key": f"text::{kind}", "sent_keys": f"text[]::{kind}[]"}


def _comparing(prefix: str, schema: str) -> dict[str, str]:
    """Not by the search_path, which is only Postgres's own: a key of an extension type would be compared as text, without an
    index.
    """
    operators = {"is": "=", "is_not": "<>", "is_after": ">"}
    return {f"{prefix}{name}": f"OPERATOR({schema}.{operator})" for name, operator in operators.items()}
