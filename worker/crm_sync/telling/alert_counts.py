"""What a worker has to say of its contacts, counted from the events that it logs, and written some at a time.

What cannot be written stays here, and is added to. It is numbers by CRM and code, so it does not grow with contacts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crm_sync import events, log
from crm_sync.core.outcome import Kind
from crm_sync.core.text import printable
from crm_sync.core.waits import Waits
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

MOST_CODES = 200  # of all CRMs together, between two writes: those of clients of other packages are not known
LONGEST_CODE = 40
FAILED = (Kind.RETRY, Kind.REJECTED)
COUNTED = (Kind.DELIVERED, *FAILED)


class AlertCounts:
    """A tap of the log."""

    def __init__(self) -> None:
        self._finished: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._strays: Counter[str] = Counter()
        self._codes: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Within, what is logged is counted."""
        with log.tapped(self._count):
            yield

    async def write(self, database: Database, waits: Waits) -> None:
        """Raises as Database.fetch does."""
        finished, failed, strays, codes = self._finished, self._failed, self._strays, self._codes
        crms = sorted({*finished, *strays})
        if not crms and not codes:
            return
        self._finished, self._failed, self._strays, self._codes = Counter(), Counter(), Counter(), Counter()
        by_code = sorted(codes)
        try:
            await database.fetch(
                query("note_outcomes"),
                crms,
                [finished[crm] for crm in crms],
                [failed[crm] for crm in crms],
                [strays[crm] for crm in crms],
                [crm for crm, _ in by_code],
                [code for _, code in by_code],
                [codes[one] for one in by_code],
                waits.code_forgotten_s,
            )
        except BaseException:
            self._finished.update(finished)
            self._failed.update(failed)
            self._strays.update(strays)
            self._codes.update(codes)
            raise

    def _count(self, event: Mapping[str, Any]) -> None:
        crm = event.get("crm")
        if not isinstance(crm, str):
            return
        match event["event"]:
            case events.CONTACTS_FINISHED:
                self._finished[crm] += sum(event.get(kind, 0) for kind in COUNTED)
                self._failed[crm] += sum(event.get(kind, 0) for kind in FAILED)
            case events.CONTACT_FAILED:
                code = printable(str(event.get("error", "")).partition(":")[0], LONGEST_CODE)
                if (crm, code) in self._codes or len(self._codes) < MOST_CODES:
                    self._codes[crm, code] += 1
            case events.STRAYS_LINED_UP:
                self._strays[crm] += int(event.get("contacts", 0))
