"""The message for an alert: one object for programs, one paragraph for people. No keys and no personal data.

It contains the name of the CRM, counts, times, and reasons as in the log, cleaned once more because some were typed by hand.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from crm_sync import __version__
from crm_sync.core.alert import Alert, Condition, Message, how_many
from crm_sync.core.durations import span
from crm_sync.core.text import clean

TEST = "test"


def message(alert: Alert, database: str, now: datetime) -> dict[str, Any]:
    """The message to send to its channels now."""
    kind = alert.message or Message.RAISED
    lasted_s = (alert.until if kind is Message.OVER else now) - alert.since
    condition = alert.condition
    names = {"crm": alert.crm, "code": alert.code}
    body: dict[str, Any] = {
        # The same in every try, so that the receiver can ignore repeats.
        "id": f"{alert.id}-{kind.value}-{int(alert.message_at.timestamp()) if alert.message_at else 0}",
        "event": kind.value,
        "alert": condition.value,
        "crm": alert.crm,
        "code": alert.code or None,
        "what": condition.named(alert.crm, alert.code),
        "reason": clean(alert.reason),
        "since": _moment(alert.since),
        "lasted_s": max(0, round(lasted_s.total_seconds())),
        "ended_at": _moment(alert.until) if kind is Message.OVER else None,
        "count": alert.contacts,
        "counted": condition.counted,
        "to_do": condition.remedy.format(**names),
        "command": condition.command.format(**names),
        "database": database,
        "version": __version__,
        "sent_at": _moment(now),
    }
    return {**body, "text": _text(body)}


def trial_message(now: datetime) -> dict[str, Any]:
    """What `crm-sync alerts test` sends."""
    return {
        "id": f"{TEST}-{int(now.timestamp())}",
        "event": TEST,
        "alert": None,
        "version": __version__,
        "sent_at": _moment(now),
        "text": "crm-sync: this is a test of the alerts. Nothing is wrong.",
    }


def _text(body: Mapping[str, Any]) -> str:
    lasted, count = span(body["lasted_s"]), how_many(Condition[body["alert"]], body["count"])
    head = f"crm-sync ({body['database']})"
    if body["event"] == Message.OVER:
        return (
            f"{head}: over: {body['alert']} of {body['crm']}. It lasted {lasted}, until {body['ended_at']}; at the worst {count}."
        )
    still = "still " if body["event"] == Message.STILL else ""
    return (
        f"{head}: {still}{body['alert']}: {body['what']}. {body['reason']}. Since {body['since']} ({lasted}); {count}. "
        f"To do: {body['to_do']}. See: {body['command']}"
    )


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
