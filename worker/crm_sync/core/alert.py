"""Alerts: what can be wrong, and when people are notified.

    seen ──(again, where it can pass)──▶ raised: told ──(lasts for hours)──▶ told again
      │                                     │
      └──(passes)──▶ forgotten              └──(well for a while)──▶ over: told once, where it was told before

A problem that comes and goes stays one alert until it has been gone for a while. All times are by one clock, the database's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from crm_sync.core.waits import Waits


class Condition(StrEnum):
    """what: in words, after the name of the CRM. remedy: what to do. command: the one that shows the problem. Each may contain
    {crm} and {code}.

    counted: what the number of an alert counts, the noun first. A contact that is retried fails several times, so those are
    counted as failures, not as contacts.
    """

    what: str
    remedy: str
    command: str
    counted: str

    def __new__(cls, value: str, what: str, remedy: str, command: str, counted: str = "contacts in line") -> Self:
        condition = str.__new__(cls, value)
        condition._value_ = value
        condition.what, condition.remedy, condition.command, condition.counted = what, remedy, command, counted
        return condition

    LANE_DOWN = (
        "LANE_DOWN",
        "is down, so its contacts wait",
        "check the CRM's status page and the network; nothing is lost, and crm-sync resumes by itself",
        "crm-sync status",
    )
    CREDENTIALS_REFUSED = (
        "CREDENTIALS_REFUSED",
        "refuses the credentials, so its contacts wait",
        "correct the key or its rights, then systemctl reload; crm-sync retries by itself at least every minute",
        "crm-sync check",
    )
    LANE_MISCONFIGURED = (
        "LANE_MISCONFIGURED",
        "has stopped, and needs a person to fix it",
        "do what the reason says; crm-sync retries by itself at least every minute",
        "crm-sync check",
    )
    ERRORS = (
        "ERRORS",
        "has many failing attempts",
        "see which contacts fail and why; crm-sync errors CODE says what to do, crm-sync retry sends them again",
        "crm-sync failed --crm {crm} --since 15m",
        "failures in 15 minutes",
    )
    NEW_CODE = (
        "NEW_CODE",
        "has contacts with {code}, a code not seen in the past week",
        "crm-sync errors {code} says what it means and what to do",
        "crm-sync failed --crm {crm} --code {code}",
        "failures with this code",
    )
    OLDEST_WAITING = (
        "OLDEST_WAITING",
        "has a contact that has been ready for a long time",
        "during a backfill, nothing; otherwise check the pace, the limits, and whether enough workers run",
        "crm-sync status",
    )
    LIMIT_NEARLY_USED = (
        "LIMIT_NEARLY_USED",
        "has nearly used up its daily requests",
        "postpone backfills, or raise the plan and its limit in settings; once it is used up, contacts wait",
        "crm-sync status",
        "requests used",
    )
    SILENCE = (
        "SILENCE",
        "has contacts in line, but finishes none",
        "check whether a worker has its credentials, and read the log",
        "crm-sync check",
    )
    STRAYS = (
        "STRAYS",
        "has flips that no trigger saw; they are delivered late",
        "find what bypasses the table's triggers: a bulk load, session_replication_role, a disabled trigger",
        "crm-sync check",
        "flips lined up in an hour",
    )
    DELETIONS_STUCK = (
        "DELETIONS_STUCK",
        "still has records of contacts that were deleted long ago",
        "find out why; the CRM may not let this key delete",
        "crm-sync status",
        "deletions",
    )
    LANE_PAUSED_LONG = (
        "LANE_PAUSED_LONG",
        "has been paused by hand for a long time",
        "crm-sync resume {crm}, if the reason has passed",
        "crm-sync status",
    )

    def named(self, crm: str, code: str) -> str:
        """What is wrong, and with which CRM."""
        return f"{crm} {self.what.format(code=code)}"


LARGEST_COUNT = 10_000  # contacts in line and deletions; counting stops here


def how_many(condition: Condition, count: int) -> str:
    """12 contacts in line; 1 failure with it; more than 10,000 contacts in line."""
    is_capped = condition is Condition.DELETIONS_STUCK or condition.counted == Condition.LANE_DOWN.counted
    if is_capped and count > LARGEST_COUNT:
        return f"more than {LARGEST_COUNT:,} {condition.counted}"
    noun, blank, rest = condition.counted.partition(" ")
    return f"{count:,} {noun.removesuffix('s') if count == 1 else noun}{blank}{rest}"


class Message(StrEnum):
    RAISED = "raised"
    STILL = "still"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found. code: the failure code for NEW_CODE, else empty. since: when it began, as far as is known."""

    condition: Condition
    crm: str
    since: datetime
    count: int
    reason: str
    code: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.condition, self.crm, self.code


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of list_open_alerts.sql."""

    id: int
    condition: Condition
    crm: str
    code: str
    since: datetime
    first_seen_at: datetime
    seen_at: datetime
    well_since: datetime | None
    raised_at: datetime | None
    ended_at: datetime | None
    contacts: int
    reason: str
    message: Message | None
    message_at: datetime | None
    untold: Sequence[str]
    told: Sequence[str]
    tries: int
    next_try_at: datetime | None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.condition, self.crm, self.code

    @property
    def is_open(self) -> bool:
        """Whether it was raised and is not over."""
        return self.raised_at is not None and self.ended_at is None

    @property
    def until(self) -> datetime:
        """When it ended, or was last seen."""
        return self.well_since or self.seen_at

    def saying(self, message: Message, channels: Sequence[str], now: datetime) -> "Alert":
        return replace(self, message=message, message_at=now, untold=channels, tries=0, next_try_at=now)


@dataclass(frozen=True, slots=True)
class Rules:
    """When each channel is told. channels: those that are configured."""

    waits: Waits
    channels: Sequence[str]

    def is_raised(self, condition: Condition, first_seen: datetime, now: datetime) -> bool:
        """Whether it has been seen for as long as its condition may hold before anyone is told."""
        # After an outage of all workers, the oldest contact has waited a long time but is sent at once.
        held = condition in (Condition.OLDEST_WAITING, Condition.SILENCE)
        return not held or _seconds(first_seen, now) >= self.waits.alert_hold_s

    def seen_again(self, alert: Alert, seen: Seen, now: datetime) -> Alert:
        """An alert that is not over and still holds."""
        first = alert.first_seen_at
        if alert.raised_at is None and _seconds(alert.seen_at, now) > self.waits.alert_gap_s:
            first = now
        alert = replace(
            alert,
            since=min(alert.since, seen.since) if alert.raised_at is not None else seen.since,
            first_seen_at=first,
            seen_at=now,
            well_since=None,
            contacts=max(alert.contacts, seen.count),
            reason=seen.reason,
        )
        if alert.raised_at is None:
            if self.is_raised(alert.condition, first, now):
                return replace(alert, raised_at=now).saying(Message.RAISED, self.channels, now)
        elif alert.message_at is not None and _seconds(alert.message_at, now) >= self.waits.alert_repeat_s:
            return alert.saying(Message.STILL, self.channels, now)
        return alert

    def not_seen(self, alert: Alert, now: datetime) -> Alert | None:
        """An alert that is not over but no longer holds. None: it was never raised, and is forgotten."""
        if alert.raised_at is None:
            return None
        alert = replace(alert, well_since=alert.well_since or now)
        if alert.well_since is None or _seconds(alert.well_since, now) < self.waits.alert_over_s:
            return alert
        told = [channel for channel in alert.told if channel in self.channels]
        return replace(alert, ended_at=now).saying(Message.OVER, told, now)

    def to_tell(self, alert: Alert, now: datetime) -> Sequence[str]:
        """The channels to notify of it now."""
        if alert.message is None or alert.next_try_at is None or alert.next_try_at > now:
            return []
        return [channel for channel in alert.untold if channel in self.channels]

    def is_given_up(self, alert: Alert, now: datetime) -> bool:
        """Whether the end of an alert is too old to be news, or no channel is left that could report it."""
        if alert.ended_at is None:
            return False
        known = any(channel in self.channels for channel in alert.untold)
        return not known or _seconds(alert.ended_at, now) > self.waits.telling_patience_s

    def again_s(self, tries: int) -> float:
        """Seconds before a channel that failed this many times is tried again."""
        return float(min(self.waits.first_telling_again_s * 2 ** min(tries, 20), self.waits.longest_telling_again_s))


def _seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()
