"""The details of an event in words, on one line. An alert is told in a sentence, other details by their names."""

from collections.abc import Callable, Mapping
from typing import Any

from crm_sync import events
from crm_sync.api.lane_models import Event
from crm_sync.console.moments import with_moments
from crm_sync.core.alert import Condition, how_many
from crm_sync.core.durations import span

Details = Mapping[str, Any]

SELF_EVIDENT = ("reason", "note")  # sentences
CALLED = {"was": "it was", "crm": "CRM"}


def told(event: Event) -> str:
    """Of an event of another version, too, with whatever details."""
    if (tell := _OF_ALERTS.get(event.event)) is not None:
        try:
            return with_moments(tell(event.crm, event.details))
        except (KeyError, TypeError, ValueError):  # another version's
            pass
    return details(event.details)


def details(given: Details, between: str = "; ") -> str:
    """By name."""
    return between.join(_detail(name, value) for name, value in given.items())


def _raised(crm: str | None, given: Details) -> str:
    condition = Condition[given["alert"]]
    return f"{_named(crm, condition, given)}: {how_many(condition, given['count'])}, since {given['since']}. {given['reason']}"


def _over(crm: str | None, given: Details) -> str:
    condition = Condition[given["alert"]]
    lasted = span(given["lasted_s"])
    return f"{_named(crm, condition, given)}: this lasted {lasted}; at the worst, {how_many(condition, given['count'])}"


def _named(crm: str | None, condition: Condition, given: Details) -> str:
    return condition.named(crm or "it", given["code"] if condition is Condition.NEW_CODE else "")


_OF_ALERTS: Mapping[str, Callable[[str | None, Details], str]] = {events.ALERT_RAISED: _raised, events.ALERT_OVER: _over}


def _detail(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name in ("contacts", "times"):
        return f"{value:,} {name.removesuffix('s') if value == 1 else name}"
    if name.endswith("_s") and isinstance(value, int | float):
        return f"{name.removesuffix('_s').replace('_', ' ')} {span(value)}"
    return _plain(value) if name in SELF_EVIDENT else f"{CALLED.get(name, name.replace('_', ' '))} {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return with_moments(value)
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"({details(value, ', ')})" if isinstance(value, dict) else str(value)
