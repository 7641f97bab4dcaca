"""What a lane needs of a CRM."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.likeness import same_plain
from crm_sync.core.outcome import Contact, Deletion, Outcome, Unsent
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.crm.exchange import Assumption
from crm_sync.errors import LaneError

# What is said of one contact; a LaneError says nothing about it, and Unsent that the CRM was not asked.
Entry = Outcome | Unsent | LaneError
# The id of a record that was looked for, None if there is none, or why that cannot be said.
Found = str | None | Outcome | LaneError


class Record(NamedTuple):
    """What a CRM has of one contact. addresses: all that it is known by, folded. values: by the names that were asked for."""

    addresses: frozenset[str]
    values: Mapping[str, Any]


# None if there is no record, or why that cannot be said.
Held = Record | None | Outcome | LaneError


class Client(ABC):
    """One CRM account. A fifth CRM is a class like this one, registered by an entry point; see docs/how-to/add-a-crm.md.

    batch_limit: contacts in one request; concurrency: requests at a time, of all workers together. adaptive: fewer, as long as
    more only make its answers slower (`crm_sync.core.concurrency`).
    delete_limit: deletions in one call of delete. read_limit: contacts in one call of read. unread: names that are sent and that
    read does not give, unless the account has a field of that name. keeps_records: it has records that are found and deleted by
    an id.
    """

    batch_limit: int = 1
    concurrency: int = 4
    adaptive: bool = False
    delete_limit: int = 1
    read_limit: int = 1
    unread: Collection[str] = frozenset()
    keeps_records: bool = True

    @abstractmethod
    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        """Upserts at most batch_limit contacts, all with a valid address, and none of them twice.

        An outcome each, in their order; or a LaneError for those of whom nothing can be said. When that is all of them it may
        be raised. Those that share a BatchRefusedError come again in halves.
        """

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        """What the CRM may know of this contact, where deliver goes on by what it is told. For `crm-sync preview`."""
        return ()

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        """The id of the record that has each of these addresses as its own, None if there is none; at most delete_limit.

        Else why that cannot be said: of one an outcome, or a LaneError, which may be raised when that is all of them.
        """
        return [_cannot_delete()] * len(emails)

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """What the CRM has of these fields of at most read_limit contacts: under their ids, else under their addresses.

        For `crm-sync compare`. Answers as find does.
        """
        return [Outcome.rejected(Code.CLIENT_FAILED, "the client of this CRM cannot read contacts")] * len(contacts)

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        """Whether a value that is held is the one that is sent, which is not empty. None if the CRM keeps no such value.

        field: as the schema has it, None if it does not.
        """
        return same_plain(sent, held)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        """Deletes the records of at most delete_limit contacts. One that is not there is deleted. Answers as deliver does.

        All have a remote_id where the CRM keeps records.
        """
        return [_cannot_delete()] * len(deletions)

    async def schema(self) -> RemoteSchema | None:
        """The fields that the account has, by what it takes; None if that cannot be asked. Raises LaneError."""
        return None

    @abstractmethod
    async def check(self) -> str:
        """Proves the credentials without changing anything. A few words for people. Raises LaneError."""


def _cannot_delete() -> Outcome:
    return Outcome.rejected(Code.CANNOT_DELETE, "the client of this CRM cannot delete contacts")
