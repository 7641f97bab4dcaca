"""What the applications have committed, kept apart from the table: what it must say, and what the CRMs must hold.

A contact's first name says who it is and which version of it: `Canary12v5x` is version 5 of contact 12. So every request that
writes it, and every record, tells how new it is, at whichever CRM.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crm_sync.core.identity import check_email, fold
from crm_sync.sandbox.process import CRMS

MARK = "canary"  # in all that is personal, in any case: seen in a log, it is a leak
NAME = re.compile(r"Canary(\d+)v(\d+)x")
REMOTE_ID = {crm: "n8n_workflow_id" if crm == "n8n" else f"{crm}_contact_id" for crm in CRMS}
# The application's columns that change here. The marker names the transaction that wrote the row last.
MARKER = "company"
COLUMNS = ("email", "first_name", "last_name", MARKER)


def name(number: int, version: int) -> str:
    return f"Canary{number}v{version}x"


def last_name(version: int) -> str | None:
    """Each third version has none, so that the CRMs have to be told."""
    return "Canary" if version % 3 else None


@dataclass(slots=True)
class Contact:
    """words: what the application wrote last into each sync status. flips: how often it wrote Queued there; flipped: the version
    that it wrote it with last. shares: whether another row has, or had, its address.
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
        return check_email(self.columns["email"]) is None


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
    """All contacts there ever were, by id. held: ids whose rows an application holds locked just now."""

    def __init__(self) -> None:
        self.contacts: dict[uuid.UUID, Contact] = {}
        self.held: set[uuid.UUID] = set()
        self.transactions: dict[str, int] = {}  # by what they did
        self.in_doubt = 0  # whose answer to COMMIT was lost; the row told
        self.deadlocks: list[str] = []
        self.surprises: list[str] = []  # a statement that did not touch the rows it must

    def commit(self, what: str, changes: Iterable[Change]) -> None:
        self.transactions[what] = self.transactions.get(what, 0) + 1
        for change in changes:
            self.contacts.setdefault(change.contact.id, change.contact)
            change.commit()
