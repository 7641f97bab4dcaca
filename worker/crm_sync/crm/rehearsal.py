"""Finds out what a client would send for a contact by running it. Nothing leaves this process.

The client is the real one, with the real settings, over a wire that leads nowhere. If its steps depend on the CRM's answers, it
is run once for each assumption that it declares, with those answers. It stops at the first request without an assumed answer.
"""

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from multidict import CIMultiDict, CIMultiDictProxy

from crm_sync.core.outcome import Contact, Outcome
from crm_sync.crm.account import Account
from crm_sync.crm.answer import Answer
from crm_sync.crm.client import Client
from crm_sync.crm.exchange import Assumption, Request, Response, Said, Shown
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.errors import DeclinedError, HeldBackError, LaneError

_TOKEN = "a-token-that-was-never-fetched"  # noqa: S105 (of nothing)
TOKEN = Said(200, {"access_token": _TOKEN, "token": _TOKEN, "token_type": "bearer", "expires_in": 3600})
NOTHING_ASSUMED = Assumption("", ())


@dataclass(frozen=True, slots=True)
class Run:
    """One possible course. words: the assumption. outcome: None if the last request has no answer."""

    words: str
    requests: Sequence[Shown]
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """together: contacts in one such request, at most. first: the requests made in any case. then: the further courses, by
    assumption; a single one if nothing has to be assumed.
    """

    together: int
    first: Sequence[Shown]
    then: Sequence[Run]


async def rehearse(account: Account, contact: Contact, *, if_empty: Collection[str] = frozenset()) -> Rehearsal:
    """Raises DeclinedError, also if the client does not use our HTTP layer, and so would really send.

    if_empty: as the client's.
    """
    async with idle_client(account) as client:
        client.if_empty = if_empty
        together = client.batch_limit
        declared = client.assumptions(contact) or [NOTHING_ASSUMED]
    return _joined(together, [await _run(account, contact, assumption, if_empty) for assumption in declared])


@asynccontextmanager
async def idle_client(account: Account, nowhere: "_Nowhere | None" = None) -> AsyncIterator[Client]:
    """The client, over a wire that leads nowhere. Raises DeclinedError if it has a transport of its own."""
    if account.witnessed is None:
        raise DeclinedError("its client does not send over the HTTP client of crm-sync, so a preview would really send")
    nowhere = nowhere or _Nowhere(())
    async with account.witnessed(nowhere, nowhere)(UNLIMITED) as client:
        yield client


async def _run(account: Account, contact: Contact, assumption: Assumption, if_empty: Collection[str]) -> Run:
    """Each run has its own client, so that none knows earlier assumptions."""
    nowhere = _Nowhere(assumption.answers)
    async with idle_client(account, nowhere) as client:
        client.if_empty = if_empty
        try:
            said = (await client.deliver([contact]))[0]
        except LaneError as error:
            said = error
        except Exception as error:  # noqa: BLE001 (a plug-in client can fail in any way, and quote the person)
            raise DeclinedError(f"the client of this CRM failed: {type(error).__name__}") from None
    return Run(assumption.words, nowhere.requests, said if isinstance(said, Outcome) and not nowhere.ended else None)


class _Nowhere:
    """The wire and its witness."""

    def __init__(self, answers: Sequence[Said]) -> None:
        self.requests: list[Shown] = []
        self.ended = False
        self._answers = [*answers]

    def asked(self, request: Shown) -> None:
        if not self.ended:
            self.requests.append(request)

    def answered(self, said: Answer | LaneError) -> None:
        """The answer is known already, because it was made up here."""

    async def __call__(self, request: Request) -> Response:
        if request.login and not self.ended:
            return _response(TOKEN)
        if self.ended or not self._answers:
            self.ended = True
            raise HeldBackError("this is a rehearsal: nothing is sent")
        return _response(self._answers.pop(0))


def _response(said: Said) -> Response:
    headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json"}))
    return Response(said.status, headers, json.dumps(said.json).encode())


def _joined(together: int, runs: Sequence[Run]) -> Rehearsal:
    """Requests common to all runs come first. Identical courses are merged."""
    common = 0
    while all(len(run.requests) > common for run in runs) and len({_key(run.requests[common]) for run in runs}) == 1:
        common += 1
    then = [Run(run.words, run.requests[common:], run.outcome) for run in runs]
    if all((run.requests, run.outcome) == (then[0].requests, then[0].outcome) for run in then):
        then = [Run("", then[0].requests, then[0].outcome)]
    return Rehearsal(together, runs[0].requests[:common], then)


def _key(request: Shown) -> tuple[str, str, str | None]:
    return request.method, request.url, request.body
