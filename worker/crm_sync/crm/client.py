"""What a lane needs from a CRM."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.identity import check_email
from crm_sync.core.likeness import same_plain
from crm_sync.core.outcome import Contact, Deletion, Outcome, Unsent
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.crm.exchange import Assumption
from crm_sync.errors import LaneError

# The verdict on one contact; a LaneError says nothing about it, and Unsent that it was not sent.
Entry = Outcome | Unsent | LaneError
# The id of a record that was looked up, None if there is none, or why that cannot be determined.
Found = str | None | Outcome | LaneError


class Record(NamedTuple):
    """A CRM's data about one contact. addresses: all addresses it is known by, folded. values: by the requested names."""

    addresses: frozenset[str]
    values: Mapping[str, Any]


# None if there is no record, or why that cannot be determined.
Held = Record | None | Outcome | LaneError


class Client(ABC):
    """One CRM account. A fifth CRM is a class like this one, registered by an entry point; see docs/how-to/add-a-crm.md.

    batch_limit: contacts in one request. concurrency: requests at a time, for all workers together. adaptive: fewer, as long as
    more only make its answers slower (`crm_sync.core.concurrency`). delete_limit: deletions in one call of delete. read_limit:
    contacts in one call of read. unread: names that are sent but not returned by read, unless the account has a field of that
    name. read_members: names that are not fields (`Forms.members`) and that read returns too. moving: fields that the CRM changes
    by itself, so that another value is no drift. matched_by: names of the mapping by which contacts are matched, besides their
    addresses. keeps_records: it has records that are found and deleted by an id. if_empty:
    fields that are sent only where the CRM has no value: set by the lane, and empty unless the account's forms say looks_first.
    leaves_trail: it makes requests only through its account's Http, which records them: set by the account.
    """

    batch_limit: int = 1
    concurrency: int = 4
    adaptive: bool = False
    delete_limit: int = 1
    read_limit: int = 1
    unread: Collection[str] = frozenset()
    read_members: Collection[str] = frozenset()
    moving: Collection[str] = frozenset()
    matched_by: Collection[str] = frozenset()
    keeps_records: bool = True
    if_empty: Collection[str] = frozenset()
    leaves_trail: bool = False
    without_address: str = "add one to the row, and queue it again"  # what to do about a contact that has no key either

    @abstractmethod
    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        """Upserts at most batch_limit contacts, each with a valid address or, where it has none, a key, without duplicates.

        Returns an outcome for each, in order, or a LaneError for those without a verdict. If that is all of them, it may be
        raised instead. Contacts that share a BatchRefusedError are delivered again in halves.
        """

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        """What the CRM may know about this contact, if the steps of deliver depend on it. For `crm-sync preview`."""
        return ()

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        """For each of these addresses, at most delete_limit, the id of the record whose address it is; None if there is none.

        If that cannot be determined, an outcome for the address, or a LaneError, which may be raised instead if it concerns all.
        """
        return [_cannot_delete()] * len(emails)

    async def locate(self, contacts: Sequence[Contact]) -> Sequence[Found]:
        """For each of these contacts, at most delete_limit, whose rows have no id: the id of the record, found as a delivery
        finds it; None if there is none.

        For `crm-sync match`. The contacts have an address or a key, and no fields but those in matched_by. Returns errors as find
        does.
        """
        return await self.find([contact.email or "" for contact in contacts])

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        """The CRM's values of these fields for at most read_limit contacts, looked up by id or else by address.

        For `crm-sync compare`. Returns errors as find does.
        """
        return [Outcome.rejected(Code.CLIENT_FAILED, "the client of this CRM cannot read contacts")] * len(contacts)

    def joined(self, contact: Contact) -> Mapping[str, Any]:
        """What every delivery of this contact joins whatever its row says, by the members of read."""
        return {}

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        """Whether the held value equals the sent one, which is not empty. None if the CRM does not store such values.

        field: from the schema, None if it is not there.
        """
        return same_plain(sent, held)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        """Deletes the records of at most delete_limit contacts. A missing record counts as deleted. Returns outcomes as deliver
        does.

        All have a remote_id if the CRM keeps records.
        """
        return [_cannot_delete()] * len(deletions)

    async def schema(self) -> RemoteSchema | None:
        """The fields of the account, with what each accepts; None if that cannot be read. Raises LaneError."""
        return None

    async def account(self) -> str | None:
        """The name of the account that the credentials belong to: a few words that tell it from others, stay the same as long as
        its ids do, and contain no personal data. None if the CRM does not say. Raises LaneError.

        While rows have ids of another account, nothing is sent.
        """
        return None

    def key(self, contact: Contact) -> str | None:
        """What identifies a contact that has no address, in the place of one; None if nothing does, so that it is not sent.

        Not an address itself. Contacts with the same key are one person: they share a delivery. The contact of a deleted row has
        no fields.
        """
        return None

    def also_known_by(self, contact: Contact) -> str | None:
        """The key by which a contact is matched, whether it has an address or not; None if it has none. Asked only of a client
        with matched_by.

        As key returns it for one without an address. Contacts with the same are one person: they are sent one after another.
        """
        return None

    @abstractmethod
    async def check(self) -> str:
        """Tests the credentials without changing anything. Returns a few words for people. Raises LaneError."""


def problem_of(client: Client, contact: Contact) -> str | None:
    """Why a contact cannot be sent, or None: it has neither a valid address nor, if it has none at all, a key of this CRM."""
    problem = check_email(contact.email)
    if problem is None or (contact.email or "").strip():
        return problem
    try:
        return None if client.key(contact) else f"{problem}: {client.without_address}"
    except Exception as error:  # noqa: BLE001 (a client of another package)
        return f"{problem}, and the client's method key failed with {type(error).__name__}"


def _cannot_delete() -> Outcome:
    return Outcome.rejected(Code.CANNOT_DELETE, "the client of this CRM cannot delete contacts")
