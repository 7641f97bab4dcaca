"""The promise that holds after every fault, and a CRM that shows whether it was kept."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from crm_sync.core.outcome import Contact, Outcome
from tests.harness import TIMEOUT_S, ScriptedCrm

LINE_UP = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) "
    "SELECT $1 || n || '@example.com', 'Ada', 'Queued' FROM generate_series(1, $2::integer) AS n"
)


class RecordingCrm(ScriptedCrm):
    """A CRM that upserts by address.

    records: (its id, what it holds) by address. log: every address it was sent, in order.
    """

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.records: dict[str, tuple[str, dict[str, Any]]] = {}
        self.log: list[str] = []
        self.answer = self._upsert

    def _upsert(self, contact: Contact) -> Outcome:
        assert contact.email is not None
        self.log.append(contact.email)
        crm_id = self.records.get(contact.email, (f"record-{len(self.records)}",))[0]
        self.records[contact.email] = (crm_id, contact.fields)
        return Outcome.delivered(crm_id)


class SlowToSayFields(RecordingCrm):
    """Its fields are asked for, too. asked: set once they are. says_fields: set for it to answer."""

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.says_fields = asyncio.Event()
        self.asked = asyncio.Event()

    async def schema(self) -> None:
        self.asked.set()
        await self.says_fields.wait()


async def assert_promise_kept(app: asyncpg.Connection, crm: RecordingCrm) -> None:
    """Every contact is Complete and the CRM holds its last state; nothing is in flight; no record exists twice."""
    rows = await app.fetch(
        "SELECT email, first_name, brevo_sync_status, brevo_processing_status, brevo_contact_id, brevo_claimed_by, "
        "brevo_attempts, brevo_due_at, brevo_processing_error FROM contacts"
    )
    assert rows
    for row in rows:
        crm_id, fields = crm.records[row["email"]]
        assert (row["brevo_sync_status"], row["brevo_processing_status"]) == ("Complete", "Complete")
        assert fields["FIRSTNAME"] == row["first_name"]
        assert row["brevo_contact_id"] == crm_id
        assert row["brevo_claimed_by"] is row["brevo_due_at"] is row["brevo_processing_error"] is None
        assert 1 <= row["brevo_attempts"] <= 4
    assert len({crm_id for crm_id, _ in crm.records.values()}) == len(crm.records)
    assert crm.twice_in_flight == []


async def said(log: Sequence[Mapping[str, Any]], event: str, text: str = "") -> None:
    """Returns when the worker has logged this: an event, with a text somewhere in its entry."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not any(entry["event"] == event and text in str(entry) for entry in log):  # noqa: ASYNC110 (a log has no events)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{event} with {text!r} was never said, but {[*log]}") from None


class Stopwatch:
    """Seconds since it was created or restarted."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._started = time.monotonic()

    def tell(self, what: str) -> float:
        """Prints, for `pytest -s`, and returns the seconds."""
        elapsed_s = time.monotonic() - self._started
        print(f"\n{what}: {elapsed_s:.2f} s")
        return elapsed_s
