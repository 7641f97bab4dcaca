"""The output of `crm-sync alerts`: open alerts and past ones."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from crm_sync.core.alert import Condition, how_many
from crm_sync.core.durations import clock, span
from crm_sync.reports.http_report import harmless
from crm_sync.reports.layout import labelled

Rows = Sequence[Mapping[str, Any]]  # of list_alerts.sql


def alert_objects(rows: Rows) -> list[dict[str, Any]]:
    """For scripts."""
    return [_object(row, Condition[row["condition"]]) for row in rows]


def alert_lines(rows: Rows) -> Iterator[str]:
    """For people: open ones first."""
    for row in rows:
        condition = Condition[row["condition"]]
        names = {"crm": row["crm"], "code": row["code"]}
        is_over = row["ended_at"] is not None
        until = (row["well_since"] if is_over else row["now"]) or row["now"]
        lasted = span((until - row["since"]).total_seconds())
        when = f"since {clock(row['since'], row['now'])}, " + (f"over after {lasted}" if is_over else f"for {lasted}")
        yield f"{click.style(condition.value, bold=not is_over)} {row['crm']} {row['code']}".rstrip() + f"  {when}"
        yield labelled("what", f"{condition.named(row['crm'], row['code'])}: {how_many(condition, row['contacts'])}")
        yield labelled("reason", harmless(row["reason"]))
        if not is_over:
            yield labelled("to do", condition.remedy.format(**names))
            yield labelled("see", condition.command.format(**names))
        if row["told"] or row["untold"]:
            untold = f"; still to tell: {', '.join(row['untold'])}" if row["untold"] else ""
            yield labelled("told", f"{', '.join(row['told']) or 'nobody yet'}{untold}")


def _object(row: Mapping[str, Any], condition: Condition) -> dict[str, Any]:
    names = {"crm": row["crm"], "code": row["code"]}
    return {
        "alert": condition.value,
        "crm": row["crm"],
        "code": row["code"] or None,
        "what": condition.named(row["crm"], row["code"]),
        "reason": row["reason"],
        "since": _text(row["since"]),
        "raised_at": _text(row["raised_at"]),
        "ended_at": _text(row["ended_at"] and row["well_since"]),
        "count": row["contacts"],
        "counted": condition.counted,
        "to_do": condition.remedy.format(**names),
        "command": condition.command.format(**names),
        "told": row["told"],
        "untold": row["untold"],
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
