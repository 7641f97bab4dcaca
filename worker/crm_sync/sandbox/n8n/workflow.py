"""A workflow of a fake n8n that stores contacts as a sensible one would, and the list of its executions.

It upserts by address, or by contact_id if there is none; the last write wins. It handles a flip once: by its idempotency key,
which it remembers after a successful run, so that a failed run is tried again. A run takes effect as a whole or not at all; in a
real one, the nodes before the failed one have taken effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True)
class Execution:
    """A run, as in n8n's list, with the input that started it."""

    id: str
    status: Literal["success", "error"]
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class Contact:
    email: str
    contact_id: str
    n8n_workflow_id: str | None
    fields: dict[str, Any]
    idempotency_key: str
    execution_id: str


@dataclass(slots=True)
class Workflow:
    """By lower-cased address: the workflow fails for those in failing, reports those in refusing with these words, and silently
    loses those in losing. deleted: the deletions it received. duplicates: contacts that came again with a key that was handled
    before.
    """

    failing: set[str] = field(default_factory=set)
    refusing: dict[str, str] = field(default_factory=dict)
    losing: set[str] = field(default_factory=set)
    contacts: dict[str, Contact] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    _handled: dict[str, str] = field(default_factory=dict)  # idempotency key -> execution id

    def run(self, body: Any, headers: Mapping[str, str]) -> tuple[Execution, list[dict[str, Any]]]:
        """The execution, and the items of its last node: one for each contact in the output. None for a failed run."""
        execution = Execution(str(len(self.executions) + 1), "success", dict(headers), body)
        self.executions.append(execution)
        contacts = contacts_in(body)
        if contacts is None or any(_address(contact) in self.failing for contact in contacts):
            execution.status = "error"
            return execution, []
        return execution, [item for contact in contacts if (item := self._handle(contact, execution.id)) is not None]

    def _handle(self, contact: Mapping[str, Any], execution_id: str) -> dict[str, Any] | None:
        address, key = _address(contact), contact["idempotency_key"]
        if address in self.losing:
            return None
        if address in self.refusing:
            return {"idempotency_key": key, "error": self.refusing[address]}
        if key in self._handled:
            self.duplicates += 1
            return {"idempotency_key": key, "id": self._handled[key]}
        self._handled[key] = execution_id
        if contact.get("event") == "deleted":
            self.deleted.append(dict(contact))
            gone = [one for one, kept in self.contacts.items() if kept.contact_id == contact["contact_id"]]
            for one in gone:
                del self.contacts[one]
            return {"idempotency_key": key, "id": execution_id}
        self.contacts[address or contact["contact_id"]] = Contact(
            address, contact["contact_id"], contact["n8n_workflow_id"], contact["fields"], key, execution_id
        )
        return {"idempotency_key": key, "id": execution_id}


def contacts_in(body: Any) -> Sequence[Mapping[str, Any]] | None:
    """One or several; None if the body has another form, which no node of the workflow can handle."""
    if not isinstance(body, dict):
        return None
    contacts = body.get("contacts", [body])
    if not isinstance(contacts, list) or not all(isinstance(contact, dict) and _is_whole(contact) for contact in contacts):
        return None
    return contacts


def _is_whole(contact: Mapping[str, Any]) -> bool:
    """Whether it has everything; for a deleted contact there is nothing left to write."""
    wanted = {"idempotency_key", "contact_id", "n8n_workflow_id", "email"}
    return wanted | (set() if contact.get("event") == "deleted" else {"fields"}) <= set(contact)


def _address(contact: Mapping[str, Any]) -> str:
    return str(contact["email"]).strip().lower()
