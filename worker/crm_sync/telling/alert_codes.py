"""Which failure codes a worker has seen, to detect new ones: counted from its log events, and written in batches.

Counts that cannot be written stay here and go on growing. There is one number per CRM and code, so memory does not grow with
contacts. How many contacts were finished, and how many failed, is in `crm_sync.minutes`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crm_sync import events, log
from crm_sync.core.codes import code_in
from crm_sync.core.waits import Waits
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

MOST_CODES = 200  # of all CRMs together, between two writes: the codes of plug-in clients are not known


class AlertCodes:
    """A tap on the log."""

    def __init__(self) -> None:
        self._codes: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts what is logged while this context is open."""
        with log.tapped(self._count):
            yield

    async def write(self, database: Database, waits: Waits) -> None:
        """Raises as Database.fetch does."""
        if not self._codes:
            return
        codes, self._codes = self._codes, Counter()
        keys = sorted(codes)
        crms, names = [crm for crm, _ in keys], [code for _, code in keys]
        try:
            await database.fetch(query("note_codes"), crms, names, [codes[key] for key in keys], waits.code_forgotten_s)
        except BaseException:
            self._codes.update(codes)
            raise

    def _count(self, event: Mapping[str, Any]) -> None:
        crm = event.get("crm")
        if event["event"] not in (events.CONTACT_FAILED, events.CONTACT_IN_LOOP) or not isinstance(crm, str):
            return
        code = code_in(str(event.get("error", "")))
        if (crm, code) in self._codes or len(self._codes) < MOST_CODES:
            self._codes[crm, code] += 1
