"""The four sandboxes, observed: everything that reaches them is recorded, and their failures depend on their mood.

A slow request takes effect before it is delayed. If a CRM applied a request long after its sender is gone, an old state would
overwrite a new one, and the sender could do nothing about it.
"""

import json
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.n8n.sandbox import N8nSandbox
from crm_sync.sandbox.n8n.workflow import Execution
from crm_sync.sandbox.server import Call, Fault, Sandbox
from tests.chaos.ledger import NAME

MAUTIC_WORK_S = 0.01  # between a request's read and its write

# What happens to a request in this mood, None for nothing unusual.
Mood = Callable[[Call], Fault | None]


class Send(NamedTuple):
    """A contact in a writing request. at: seconds since 1970. failed: its sender cannot know the outcome, or was told that it was
    refused.
    """

    crm: str
    at: float
    number: int
    version: int
    failed: bool


class Watched(Sandbox):
    """mood: None when it is well. sends: in order. arrivals: of all requests, in seconds since 1970. Bodies are not kept."""

    def __init__(self, crm: str, **details: Any) -> None:
        super().__init__(keep_log=False, **details)
        self.crm = crm
        self.mood: Mood | None = None
        self.sends: list[Send] = []
        self.arrivals = array("d")
        self.failed_requests = 0

    def _take_fault(self, call: Call) -> Fault | None:
        at = time.time()
        fault = None if self.mood is None else self.mood(call)
        failed = fault is not None and (fault.drop or fault.answer is not None)
        self.arrivals.append(at)
        self.failed_requests += failed
        if call.method != "GET" and not call.path.endswith("/batch/read"):
            self.sends += [
                Send(self.crm, at, number, version, failed) for item in items(call) for number, version in written(item)
            ]
        return fault

    @property
    def listens(self) -> bool:
        return self._runner is not None

    def break_off(self, since: float) -> None:
        """The connections of all requests since then are about to be closed: their outcome will be unknown."""
        for place in range(len(self.sends) - 1, -1, -1):
            if self.sends[place].at < since:
                break
            self.sends[place] = self.sends[place]._replace(failed=True)

    def records(self) -> list[tuple[str, str]]:
        """(address, first name) of each."""
        raise NotImplementedError

    def last_names(self) -> dict[str, str | None]:
        """By address."""
        return {}


class WatchedHubSpot(Watched, HubSpotSandbox):
    def records(self) -> list[tuple[str, str]]:
        return [(one.properties.get("email", ""), one.properties.get("firstname", "")) for one in self.contacts.values()]

    def last_names(self) -> dict[str, str | None]:
        return {one.properties.get("email", ""): one.properties.get("lastname") or None for one in self.contacts.values()}


class WatchedBrevo(Watched, BrevoSandbox):
    def records(self) -> list[tuple[str, str]]:
        return [(one.email or "", str(one.attributes.get("FIRSTNAME", ""))) for one in self.contacts.values()]

    def last_names(self) -> dict[str, str | None]:
        return {one.email or "": str(one.attributes.get("LASTNAME", "")) or None for one in self.contacts.values()}


class WatchedMautic(Watched, MauticSandbox):
    def records(self) -> list[tuple[str, str]]:
        return [(str(one.values["email"]).lower(), str(one.values["firstname"])) for one in self.contacts.values()]

    def last_names(self) -> dict[str, str | None]:
        return {str(one.values["email"]).lower(): one.values["lastname"] or None for one in self.contacts.values()}


class WatchedN8n(Watched, N8nSandbox):
    def records(self) -> list[tuple[str, str]]:
        return [(address, str(one.fields.get("first_name", ""))) for address, one in self.workflow.contacts.items()]


class Forgetful(list[Execution]):
    """n8n's list of executions, of which only the number is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def append(self, _: Execution) -> None:
        self._count += 1

    def __len__(self) -> int:
        return self._count


def sandboxes() -> Mapping[str, Watched]:
    """By CRM, without limits: the faults decide when it is too much."""
    mautic = WatchedMautic("mautic")
    mautic.work_s = MAUTIC_WORK_S
    n8n = WatchedN8n("n8n")
    n8n.workflow.executions = Forgetful()
    return {
        "hubspot": WatchedHubSpot("hubspot", requests_per_ten_seconds=None, requests_per_day=None),
        "brevo": WatchedBrevo("brevo", contacts_per_second=None, contacts_per_hour=None, others_per_hour=None),
        "mautic": mautic,
        "n8n": n8n,
    }


def items(call: Call) -> Sequence[Any]:
    """The parts of a request that are one contact each, if it has a list."""
    return call.body if isinstance(call.body, list) else [call.body]


def written(item: Any) -> set[tuple[int, int]]:
    """(number, version) of the contacts in it. No request has one twice."""
    return {(int(number), int(version)) for number, version in NAME.findall(json.dumps(item, default=str))}
