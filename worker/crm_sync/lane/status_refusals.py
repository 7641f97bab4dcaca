"""What becomes of contacts that are refused by status alone: the culprits are found, and the others get served.

Which contacts to send next is decided in `crm_sync.lane.search`, and who is to blame in `crm_sync.lane.refusals`.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.operation import Operation
from crm_sync.core.outcome import Contact, Outcome, Settled, Unsent
from crm_sync.crm.client import Entry
from crm_sync.errors import RefusedError, StatusRefusedError
from crm_sync.lane.channel import Channel
from crm_sync.lane.crm_failures import CrmFailures, reason_of
from crm_sync.lane.refusals import ROUNDS, Doubt, Refusals
from crm_sync.lane.requests import Requests, Said
from crm_sync.lane.search import Found, Search
from crm_sync.lane.side_by_side import side_by_side


class StatusRefusals:
    """settle: judges the answer about these contacts. refused: as in `crm_sync.lane.delivery.Deliveries`.

    Methods that wait raise as Database.fetch does.
    """

    def __init__(
        self,
        channel: Channel,
        requests: Requests,
        refusals: Refusals,
        failures: CrmFailures,
        *,
        settle: Callable[[Said, Sequence[Contact]], Awaitable[list[Settled]]],
        refused: Callable[[RefusedError], Unsent] | None,
    ) -> None:
        self._breaker = channel.breaker
        self._permits = channel.permits
        self._waits = channel.waits
        self._requests = requests
        self._refusals = refusals
        self._failures = failures
        self._settle = settle
        self._refused = refused
        self._log = structlog.get_logger().bind(crm=channel.crm)

    async def search(self, error: StatusRefusedError, contacts: Sequence[Contact]) -> list[Settled]:
        """For several contacts: gets the others served, and finds the culprits, each of which is later sent alone once more."""
        operation = error.operation or self._requests.kind
        settled: dict[object, Settled] = {}
        began = time.monotonic()
        search = Search(contacts, began)
        while asks := search.next():
            began = time.monotonic()
            said = await side_by_side(self._permits, [partial(self._requests.ask, asked, in_doubt=True) for asked in asks])
            ended = time.monotonic()
            for asked, one in zip(asks, said, strict=True):
                refused = [contact for contact, entry in zip(asked, one.entries, strict=True) if _is_refused(entry)]
                search.heard(refused, ended)
                if len(refused) < len(asked):
                    _put(settled, *await self._settle_others(one, asked))
                    if not one.is_answer:
                        search.stop()  # paused, stopped, down: nothing is known about the remaining contacts
            if not (search.stopped or operation.began > began or any(one.is_answer for one in said)):
                await self._hear_witnesses(search, operation, began, settled)
        for found in search.found:
            if found.contact.id not in settled:
                settled[found.contact.id] = await self._found(error, found, began)
        return [settled.get(contact.id) for contact in contacts]

    async def alone(self, error: StatusRefusedError, contact: Contact, began: float) -> Settled:
        """For a contact that was refused alone. began: when its request began."""
        operation = error.operation or self._requests.kind
        if self._refusals.proven(contact, operation):
            return _to_blame(error)
        doubt = self._refusals.add(contact, operation, began, time.monotonic())
        if doubt.everybody or self._breaker.is_probe(contact.token):
            return await self._refuse_everybody(error, contact, doubt)
        return _not_yet(error, contact, self._waits.suspect_s)

    async def _settle_others(self, said: Said, contacts: Sequence[Contact]) -> tuple[Sequence[Contact], Sequence[Settled]]:
        """The contacts that were not refused by status, with their outcomes."""
        others = [(contact, entry) for contact, entry in zip(contacts, said.entries, strict=True) if not _is_refused(entry)]
        asked = [contact for contact, _ in others]
        return asked, await self._settle(Said(said.began, [entry for _, entry in others]), asked)

    async def _found(self, error: StatusRefusedError, found: Found, began: float) -> Settled:
        """began: when the last requests of the search began."""
        operation = error.operation or self._requests.kind
        if not _is_proven(found, operation):
            return await self.alone(error, found.contact, began)
        # It comes back, and is sent alone.
        self._refusals.remember(found.contact, operation, found.refused_at)
        return Unsent(done=False)

    async def _hear_witnesses(self, search: Search, operation: Operation, began: float, settled: dict[object, Settled]) -> None:
        """Nothing was served since then: several contacts are to blame, or every one is refused. So some are sent one after
        another. If none of them is served, every one is refused, and the search ends.
        """
        outcome: Settled = None
        for _ in range(ROUNDS):
            contact = search.witness()
            if contact is None:
                return
            said = await self._requests.ask([contact])
            [outcome] = await self._settle(said, [contact])
            settled[contact.id] = outcome
            refused = _is_refused(said.entries[0])
            search.witnessed(contact, time.monotonic() if refused else None)
            if operation.began > began or isinstance(outcome, Outcome):
                return
            if not refused:
                break  # paused, stopped, down
        search.stop()
        unproven = [found.contact for found in search.found if not _is_proven(found, operation)]
        undecided = [contact for contact in (*unproven, *search.left) if contact.id not in settled]
        _put(settled, undecided, [outcome] * len(undecided))

    async def _refuse_everybody(self, error: StatusRefusedError, contact: Contact, doubt: Doubt) -> Settled:
        if self._refused is not None:
            return self._refused(error)
        reason = reason_of(error, [contact]) + doubt.caution
        if self._requests.kind.served_at > doubt.since:
            # Requests of other kinds are served, so the lane goes on; only contacts that need this kind wait.
            if not doubt.told:
                doubt.told = True
                self._log.warning(events.REQUESTS_REFUSED, code=error.code, reason=reason)
            return _not_yet(error, contact, self._waits.longest_refused_probe_s)
        self._refusals.close(doubt)
        # While this is not certain, another contact is to be tried soon. A service that is starting up is ready soon.
        refused = doubt.is_certain and error.code != Code.NOT_READY
        await self._failures.refuse(contact, error.code, reason, refused=refused)
        return None


def _put(settled: dict[object, Settled], contacts: Sequence[Contact], outcomes: Sequence[Settled]) -> None:
    settled.update(zip((contact.id for contact in contacts), outcomes, strict=True))


def _is_refused(entry: Entry) -> bool:
    """Refused by status alone."""
    return isinstance(entry, StatusRefusedError)


def _is_proven(found: Found, operation: Operation) -> bool:
    """Others were served without it."""
    return not found.alone or operation.began > found.refused_at


def _to_blame(error: StatusRefusedError) -> Outcome:
    """Only this contact is refused, while others are served."""
    blamed = f"a firewall or something else in front of the CRM refuses this contact, while others are served ({error.said})"
    return Outcome.rejected(Code.REJECTED, error.blamed or blamed)


def _not_yet(error: StatusRefusedError, contact: Contact, delay_s: float) -> Unsent:
    """It is not known yet which contact is to blame."""
    return Unsent(done=False, delay_s=delay_s, reason=f"{error.code}: {reason_of(error, [contact])}")
