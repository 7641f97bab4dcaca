"""The output of `crm-sync failed`: one failed contact after another."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from crm_sync.core.durations import clock, span
from crm_sync.core.text import clean
from crm_sync.reports.http_report import harmless
from crm_sync.reports.layout import wrapped


@dataclass(frozen=True, slots=True)
class FailedContact:
    """A row of list_failed_contacts.sql. state: in Error, waiting or Complete. failed_at: None if unknown."""

    crm: str
    key: str
    state: str
    error: str
    attempts: int
    remote_id: str | None
    failed_at: datetime | None
    due_at: datetime | None

    def as_object(self) -> dict[str, Any]:
        """For scripts."""
        code, separator, reason = self.error.partition(":")
        return {
            "crm": self.crm,
            "key": self.key,
            "state": self.state,
            "code": code if separator else None,
            "reason": clean(reason if separator else self.error),
            "attempts": self.attempts,
            "remote_id": self.remote_id,
            "failed_at": _text(self.failed_at),
            "due_at": _text(self.due_at),
        }

    def lines(self, now: datetime) -> Iterator[str]:
        """For people: which contact and how it stands, then why."""
        said = [self.state]
        if self.failed_at is not None:
            said.append(f"since {clock(self.failed_at, now)}")
        if self.due_at is not None:
            wait_s = (self.due_at - now).total_seconds()
            said.append(f"tried again in {span(wait_s)}" if wait_s > 0 else "tried again now")
        if self.attempts:
            said.append("1 attempt" if self.attempts == 1 else f"{self.attempts} attempts")
        yield f"{click.style(self.crm, bold=True)}  contact {harmless(self.key)}  {', '.join(said)}"
        yield wrapped(f"  {harmless(clean(self.error))}", further="  ")


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
