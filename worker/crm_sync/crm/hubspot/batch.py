"""Matches the results and errors in a batch answer to contacts.

Results come in any order, under the primary address of their record, and captured ones do not echo trace ids. Errors name their
contact by trace id, by the key it was sent with, or not at all.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Outcome
from crm_sync.core.text import printable
from crm_sync.crm.answer import Answer
from crm_sync.crm.client import Entry
from crm_sync.crm.emptied import still_there
from crm_sync.crm.hubspot.inputs import EMAIL
from crm_sync.crm.hubspot.refusals import LONGEST_NAME, Error, conflict_of, context, is_id, is_not_found, mapping_fault, refusal
from crm_sync.errors import BatchRefusedError, LaneError

STAGE = "lifecyclestage"
ID = "id"  # in the place of a property


class Input(NamedTuple):
    """What is sent for one contact. key: a record id, an address in lower case, or a value of HUBSPOT_MATCH."""

    key: str
    properties: Mapping[str, str]


class Result(NamedTuple):
    """A record after the request. trace: the trace id it was sent with, if HubSpot echoes it."""

    id: str
    trace: str
    properties: Mapping[str, Any]

    @property
    def email(self) -> str:
        """The primary one, folded, which need not be the one that was sent."""
        return fold(str(self.properties.get("email") or ""))

    @property
    def emails(self) -> set[str]:
        """All of them, if hs_additional_emails was requested."""
        others = str(self.properties.get("hs_additional_emails") or "")
        return {self.email, *map(fold, others.split(";"))} - {""}


class Batch:
    """entries: for each input, in order; None if nothing is known about it, or no record has its key.

    missing: the positions of those of which HubSpot said the latter. strangers: results that match no input.
    """

    entries: list[Entry | None]
    missing: set[int]

    def __init__(
        self, answer: Answer, inputs: Sequence[Input], mapped: Collection[str] = (), *, by: str = EMAIL, updates: bool = False
    ) -> None:
        """mapped: the properties in the mapping. by: the property whose values the keys are; ID for record ids. updates: contacts
        that are missing are not made.
        """
        errors = [error for error in answer.get("errors") or [] if isinstance(error, dict)]
        self.inputs = inputs
        self.entries = [None] * len(inputs)
        self.is_empty = not answer.get("results") and not errors
        self._results = results(answer)
        self._label = answer.label
        self._by = by
        self._updates = updates
        self._mapped = mapped
        self._fault = mapping_fault(errors, answer.label, mapped)
        self._traces = {trace(place): place for place in range(len(inputs))}
        self._keys = {fold(item.key): place for place, item in enumerate(inputs)}
        self.missing = set()
        self.strangers = [result for result in self._results if not self._take_result(result)]
        nameless = [error for error in errors if not self._take_error(error)]
        self._blame(nameless)

    @property
    def open(self) -> list[int]:
        """The positions of those about which nothing is known."""
        return [place for place, entry in enumerate(self.entries) if entry is None and place not in self.missing]

    def deliver(self, place: int, result: Result) -> None:
        """lifecyclestage only moves forward: HubSpot answers a backward change with success, and with the value it keeps."""
        sent, kept = self.inputs[place].properties.get(STAGE), result.properties.get(STAGE)
        if sent and isinstance(kept, str) and kept and kept.lower() != sent.lower():
            words = f"{STAGE} stays {printable(kept, LONGEST_NAME)}: HubSpot only moves it forward"
            outcome = Outcome.delivered(result.id, Code.FIELD_NOT_SENT, words, frozenset({STAGE}))
        else:
            outcome = Outcome.delivered(result.id)
        emptied = [name for name, value in self.inputs[place].properties.items() if not value and result.properties.get(name)]
        self.entries[place] = still_there(outcome, "HubSpot", emptied)

    def recognise(self, found: Sequence[Result]) -> None:
        """By all addresses of these records. Only records in the answer were written."""
        written = {result.id: result for result in self._results}
        records = {email: written[result.id] for result in found if result.id in written for email in result.emails}
        for place in self.open:
            if record := records.get(fold(self.inputs[place].key)):
                self.deliver(place, record)

    def leave(self, error: LaneError) -> None:
        """For all about which nothing is known."""
        for place in self.open:
            self.entries[place] = error

    def _take_result(self, result: Result) -> bool:
        """Whether it matches an input."""
        place = self._traces.get(result.trace)
        if place is None:
            place = self._keys.get(self._key(result))
        if place is None or self.entries[place] is not None:
            return False
        self.deliver(place, result)
        return True

    def _key(self, result: Result) -> str:
        if self._by == ID:
            return result.id
        return result.email if self._by == EMAIL else fold(str(result.properties.get(self._by) or ""))

    def _take_error(self, error: Error) -> bool:
        """Whether it names an input. It takes precedence over a result."""
        traces, ids = context(error, "objectWriteTraceId"), context(error, "ids")
        places = [self._traces[name] for name in traces if name in self._traces]
        places = places or [self._keys[name] for name in map(fold, ids) if name in self._keys]
        for place in places:
            self._put_error(place, error)
        return bool(places)

    def _means_missing(self, error: Error) -> bool:
        return self._updates and is_not_found(error)

    def _put_error(self, place: int, error: Error) -> None:
        if self._means_missing(error):
            self.entries[place] = None
            self.missing.add(place)
        elif mapping_fault([error], self._label, self._mapped):
            self.entries[place] = self._fault
        else:
            self.entries[place] = refusal(error, self._label, self._by, self.inputs[place].properties)

    def _blame(self, nameless: Sequence[Error]) -> None:
        """Errors that name no contact are about those of which nothing else is known. That some are missing is no error: they are
        found by another key, as those are that were merged, which HubSpot does not mention at all.
        """
        suspects = self.open
        refusals = [error for error in nameless if not self._means_missing(error)]
        if nameless and len(suspects) == 1:
            self._put_error(suspects[0], (refusals or nameless)[0])
        elif refusals:
            said = f"HubSpot refused some of these contacts without saying which ({self._label})"
            self.leave(self._fault or BatchRefusedError(Code.REJECTED, said))


def is_batch(answer: Answer) -> bool:
    """Whether it is what HubSpot documents for a batch that was accepted at least in part."""
    lists = isinstance(answer.get("results"), list) and isinstance(answer.get("errors"), list | None)
    return answer.status in (200, 201, 207) and lists


def taken_by(answer: Answer, match: str) -> dict[str, str | None]:
    """By trace id: the record that already has the key of a contact to be created; None if HubSpot does not say which."""
    errors = [error for error in answer.get("errors") or [] if isinstance(error, dict)]
    found = [(name, conflict_of(error, match)) for error in errors for name in context(error, "objectWriteTraceId")]
    return {name: record or None for name, record in found if record is not None}


def trace(place: int) -> str:
    """The trace id of an input, unique in its request."""
    return str(place)


def results(answer: Answer) -> list[Result]:
    """Those with a valid HubSpot id."""
    values = answer.get("results")
    found = []
    for value in values if isinstance(values, list) else []:
        members = value if isinstance(value, dict) else {}
        record_id, properties = members.get("id"), members.get("properties")
        if isinstance(record_id, int | str) and is_id(str(record_id)):
            sent_with = str(members.get("objectWriteTraceId") or "")
            found.append(Result(str(record_id), sent_with, properties if isinstance(properties, dict) else {}))
    return found
