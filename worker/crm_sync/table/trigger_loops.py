"""Contacts that a trigger of the table flips whenever a worker writes them, so that they are sent without end.

The database notices and brakes them: sql/migrations/0023.trigger-loops.sql. A claim reads the reason, and the log tells it.
"""

import time
from collections.abc import Sequence
from typing import Any

import structlog

from crm_sync import events
from crm_sync.core.text import name_of

TOLD_AGAIN_S = 3600.0
MOST_REASONS = 100

log = structlog.get_logger()


class TriggerLoops:
    """Of one CRM."""

    def __init__(self, crm: str) -> None:
        self._log = log.bind(crm=crm)
        self._told_at: dict[str, float] = {}  # by reason

    def tell(self, rows: Sequence[Any]) -> None:
        """rows: as claim_contacts.sql returns them. A line for each reason, once an hour."""
        if not any(row[6] for row in rows):
            return
        found: dict[str, list[Any]] = {}
        for row in rows:
            if row[6]:
                found.setdefault(row[6], []).append(row[0])
        now = time.monotonic()
        for reason, contacts in found.items():
            if now - self._told_at.get(reason, -TOLD_AGAIN_S) < TOLD_AGAIN_S:
                continue
            if len(self._told_at) >= MOST_REASONS:
                self._told_at.clear()
            self._told_at[reason] = now
            more = {} if len(contacts) == 1 else {"contacts": len(contacts)}
            self._log.error(events.CONTACT_IN_LOOP, contact=name_of(contacts[0]), error=reason, **more)
