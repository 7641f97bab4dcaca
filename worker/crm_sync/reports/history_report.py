"""The output of `crm-sync history`: one outcome after another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from crm_sync.core.durations import clock, span
from crm_sync.core.text import clean
from crm_sync.reports.http_report import harmless
from crm_sync.reports.layout import wrapped


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of list_history.sql."""

    row: Mapping[str, Any]

    def as_object(self) -> dict[str, Any]:
        """For scripts: the columns of `crm_sync.deliveries`."""
        return {**self.row, "at": self.row["at"].isoformat(timespec="milliseconds")}

    def lines(self, now: datetime) -> Iterator[str]:
        """For people: when and what, then why, then what the CRM's support asks for."""
        row = self.row
        said = [f"{row['outcome']}{' (deletion)' if row['operation'] == 'delete' else ''}"]
        if row["attempt"] and row["attempt"] > 1:
            said.append(f"attempt {row['attempt']}")
        if row["waited_ms"] is not None:
            said.append(f"{_span(row['waited_ms'])} after its {'deletion' if row['operation'] == 'delete' else 'flip'}")
        if row["took_ms"] is not None:
            said.append(f"its request took {_span(row['took_ms'])}")
        yield wrapped(f"{clock(row['at'], now)}  {click.style(row['crm'], bold=True)}  {', '.join(said)}", further="    ")
        if row["code"]:
            yield wrapped(f"    {harmless(clean(': '.join(filter(None, (row['code'], row['reason'])))))}", further="    ")
        proof = [
            f"{label} {harmless(str(value))}"
            for label, value in (
                ("HTTP", row["status"]),
                ("request", row["request_id"]),
                ("record", row["remote_id"]),
                ("worker", row["worker"]),
                ("trace", row["trace"]),
            )
            if value is not None
        ]
        if proof:
            yield wrapped(f"    {', '.join(proof)}", further="    ")


def _span(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else span(milliseconds / 1000)
