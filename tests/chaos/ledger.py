"""What the applications have committed, recorded outside the table: what the table and the CRMs must contain.

A contact's first name identifies it and its version: `Canary12v5x` is version 5 of contact 12. So every request that writes it,
and every record, shows how new it is, in any CRM.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crm_sync.core.identity import check_email, fold
from crm_sync.sandbox.process import CRMS

MARK = "canary"  # in all personal data, in any case: in a log, it is a leak
NAME = re.compile(r"Canary(\d+)v(\d+)x")
REMOTE_ID = {crm: "n8n_workflow_id" if crm == "n8n" else f"{crm}_contact_id" for crm in CRMS}
# The application's columns that change here. The marker names the transaction that wrote the row last.
MARKER = "company"
COLUMNS = ("email", "first_name", "last_name", MARKER)


def name(number: int, version: int) -> str:
    return f"Canary{number}v{version}x"


def last_name(version: int) -> str | None:
    """Every third version has none, so that the CRMs have to empty it."""
    return "Canary" if version % 3 else None


@dataclass(slots=True)
class Contact:
    """words: what the application last wrote to each sync status. flips: how often it wrote Queued there; flipped: the version
    with which it last did. shares: whether another row has, or had, its address.
    """

    number: int
    id: uuid.UUID
    columns: dict[str, str | None]
    version: int = 1
    words: dict[str, str] = field(default_factory=lambda: dict.fromkeys(CRMS, "New"))
    flips: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CRMS, 0))
    flipped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CRMS, 0))
    shares: bool = False
    deleted: bool = False

    @property
    def address(self) -> str:
        return fold(self.columns["email"] or "")

    @property
    def deliverable(self) -> bool:
        """To every CRM."""
        return check_email(self.columns["email"]) is None

    def deliverable_to(self, crm: str) -> bool:
        """n8n takes contacts without an address, too."""
        return self.deliverable or (crm == "n8n" and not (self.columns["email"] or "").strip())


@dataclass(frozen=True, slots=True)
class Change:
    """Of one contact, in a transaction. new_version: its name changes. words: by CRM. A contact's first change inserts it."""

    contact: Contact
    columns: Mapping[str, str | None] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    new_version: bool = False
    deletes: bool = False

    @property
    def version(self) -> int:
        return self.contact.version + self.new_version

    @property
    def values(self) -> dict[str, Any]:
        """The columns that the statement writes."""
        named = {}
        if self.new_version:
            named = {"first_name": name(self.contact.number, self.version), "last_name": last_name(self.version)}
        return {**self.columns, **named, **{f"{crm}_sync_status": word for crm, word in self.words.items()}}

    def commit(self) -> None:
        """The transaction was committed."""
        contact = self.contact
        contact.columns |= {column: value for column, value in self.values.items() if column in COLUMNS}
        contact.version = self.version
        contact.deleted = self.deletes
        for crm, word in self.words.items():
            contact.words[crm] = word
            if word == "Queued":
                contact.flips[crm] += 1
                contact.flipped[crm] = contact.version


class Ledger:
    """All contacts there ever were, by id. held: ids whose rows an application has locked at the moment."""

    def __init__(self) -> None:
        self.contacts: dict[uuid.UUID, Contact] = {}
        self.held: set[uuid.UUID] = set()
        self.transactions: dict[str, int] = {}  # by type of step
        self.in_doubt = 0  # whose answer to COMMIT was lost; the row showed the result
        self.deadlocks: list[str] = []
        self.surprises: list[str] = []  # statements that did not affect the rows they should have

    def commit(self, what: str, changes: Iterable[Change]) -> None:
        self.transactions[what] = self.transactions.get(what, 0) + 1
        for change in changes:
            self.contacts.setdefault(change.contact.id, change.contact)
            change.commit()
