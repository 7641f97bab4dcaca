"""Rows that the table refuses to have written: skipped, for longer after each try, and never in the way."""

import time
from collections.abc import Mapping
from typing import Any

import structlog

from crm_sync import events
from crm_sync.core.text import name_of
from crm_sync.errors import DatabaseTroubleError

LONGEST_S = 6 * 3600.0
MOST_REFUSED = 100  # that a worker reports
MOST_REMEMBERED = 100_000  # including expired ones

log = structlog.get_logger()


class Avoided:
    """avoid_s: seconds until one is tried again after the first refusal, doubled with each further one, up to LONGEST_S."""

    def __init__(self, crm: str, avoid_s: float) -> None:
        self._avoid_s = avoid_s
        self._log = log.bind(crm=crm)
        self._until: dict[Any, float] = {}  # by id; expired ones stay, for their number of refusals
        self._refusals: dict[Any, int] = {}
        self._claimed: set[Any] = set()
        self._reasons: dict[Any, str] = {}

    def __bool__(self) -> bool:
        """Whether one of them is claimed, but no longer in hand."""
        return bool(self._claimed)

    @property
    def remembers(self) -> bool:
        """Whether there is anything to discard."""
        return bool(self._reasons)

    def knows(self, contact_id: object) -> bool:
        """Whether its row was refused, and not written since."""
        return contact_id in self._until

    def add(self, errors: Mapping[Any, DatabaseTroubleError], *, claimed: bool = False) -> None:
        """claimed: their claims could not be finished. The rows themselves cannot say so, so the log does."""
        self.tell(self.leave(errors))
        if claimed:
            self._claimed.update(errors)

    def note(self, errors: Mapping[Any, DatabaseTroubleError]) -> None:
        """Tells of rows that did not take all of an outcome. They are not skipped: their claims are ended."""
        self.tell({contact: error for contact, error in errors.items() if self._reasons.get(contact) != str(error)})
        if len(self._reasons) < MOST_REMEMBERED:
            self._reasons.update((contact, str(error)) for contact, error in errors.items())

    def leave(self, errors: Mapping[Any, DatabaseTroubleError]) -> dict[Any, DatabaseTroubleError]:
        """Skips these from now on, by id. Returns those that were not skipped before."""
        now = time.monotonic()
        if len(self._until) > MOST_REMEMBERED:
            for contact in [contact for contact, until in self._until.items() if until <= now]:
                self.discard(contact)
        new = {contact: error for contact, error in errors.items() if self._until.get(contact, 0.0) <= now}
        for contact, error in new.items():
            refusals = self._refusals[contact] = self._refusals.get(contact, 0) + 1
            self._until[contact] = now + min(self._avoid_s * 2 ** min(refusals - 1, 60), LONGEST_S)
            self._reasons[contact] = str(error)
        return new

    def tell(self, errors: Mapping[Any, DatabaseTroubleError]) -> None:
        """In the log, a line for each reason."""
        told: dict[str, list[Any]] = {}
        for contact, error in errors.items():
            told.setdefault(str(error), []).append(contact)
        for reason, contacts in told.items():
            more = {} if len(contacts) == 1 else {"contacts": len(contacts)}
            self._log.error(events.CONTACT_REFUSED, contact=name_of(contacts[0]), reason=reason, **more)

    def discard(self, contact_id: object) -> None:
        """It was written."""
        self._until.pop(contact_id, None)
        self._refusals.pop(contact_id, None)
        self._reasons.pop(contact_id, None)
        self._claimed.discard(contact_id)

    def reasons(self, most: int) -> dict[str, str]:
        """Why, by the name of the contact as logs may contain it: for the latest ones, at most this many."""
        return {name_of(contact): reason for contact, reason in [*self._reasons.items()][-most:]}

    def ids(self) -> list[Any]:
        """Those to be skipped now."""
        if not self._until:
            return []
        now = time.monotonic()
        return [contact for contact, until in self._until.items() if until > now]
