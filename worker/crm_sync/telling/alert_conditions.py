"""What is wrong, according to the database: facts in, conditions out. One cause gives one alert: if a CRM is down, paused or
misconfigured, its waiting contacts cause no further alerts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from json import loads
from typing import Any

from crm_sync.core.alert import Condition, Seen
from crm_sync.core.codes import NO_CODE, NO_CODE_MEANING, Code
from crm_sync.core.durations import span
from crm_sync.core.rate import Budget, Window
from crm_sync.core.waits import Waits

MANY_ERRORS, SHARE_OF_ERRORS = 20, 0.05
NEARLY = 0.9
DAY_S = 86400.0

CREDENTIALS = (Code.REFUSED, Code.IP_REFUSED, Code.API_DISABLED)
MISCONFIGURED = (Code.ANOTHER_ACCOUNT, Code.UNKNOWN_FIELD, Code.FIELD_MISFIT, Code.FIELD_REQUIRED, Code.MISCONFIGURED)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Facts:
    """About one CRM. lane: a row of list_alert_facts.sql. due, oldest: from measure_line.sql. windows: the
    limits of its account.
    """

    lane: Mapping[str, Any]
    due: int = 0
    oldest: datetime | None = None
    windows: Sequence[Window] = ()

    @property
    def crm(self) -> str:
        return str(self.lane["crm"])

    @property
    def now(self) -> datetime:
        now: datetime = self.lane["now"]
        return now

    @property
    def reason_code(self) -> str:
        return (self.lane["breaker_reason"] or "").partition(":")[0]

    def ago(self, seconds: float) -> datetime:
        return self.now - timedelta(seconds=seconds)

    def seen(self, condition: Condition, since: datetime | None, count: int, reason: str) -> Seen:
        return Seen(condition, self.crm, self.now if since is None else since, count, reason)


def conditions(facts: Facts, waits: Waits) -> Iterator[Seen]:
    """All conditions that hold for one CRM, except new codes."""
    yield from _of_the_lane(facts, waits)
    if not _is_held_up(facts):
        yield from _of_the_line(facts, waits)
    yield from _of_outcomes(facts)
    yield from _of_limits(facts)


def new_codes(rows: Sequence[Mapping[str, Any]]) -> Iterator[Seen]:
    """rows: of list_new_codes.sql."""
    for row in rows:
        code = row["code"]
        yield Seen(Condition.NEW_CODE, row["crm"], row["new_since"], row["failures"], f"{code}: {_meaning(code)}", code)


def _meaning(code: str) -> str:
    if code == NO_CODE:
        return NO_CODE_MEANING
    return Code[code].meaning if code in Code.__members__ else "a code of another package's client"


def _is_held_up(facts: Facts) -> bool:
    """This is shown elsewhere, even if it is short or on purpose."""
    lane = facts.lane
    return lane["held_since"] is not None or lane["fault"] is not None or (lane["breaker"] != "closed" and lane["openings"] > 0)


def _of_the_lane(facts: Facts, waits: Waits) -> Iterator[Seen]:
    lane, due = facts.lane, facts.due
    if lane["held_since"] is not None:
        if lane["held_since"] <= facts.ago(waits.paused_long_s):
            reason = lane["held_reason"] or "no reason given"
            yield facts.seen(Condition.LANE_PAUSED_LONG, lane["held_since"], due, reason)
        return
    if lane["fault"] is not None:
        yield facts.seen(Condition.LANE_MISCONFIGURED, lane["fault_since"], due, lane["fault"])
        return
    if lane["breaker"] == "closed" or not lane["openings"]:
        return
    since, reason = lane["breaker_since"], lane["breaker_reason"] or "no reason known"
    if facts.reason_code in CREDENTIALS:
        yield facts.seen(Condition.CREDENTIALS_REFUSED, since, due, reason)
    elif facts.reason_code in MISCONFIGURED:
        yield facts.seen(Condition.LANE_MISCONFIGURED, since, due, reason)
    elif since <= facts.ago(waits.lane_down_s):
        yield facts.seen(Condition.LANE_DOWN, since, due, reason)


def _of_the_line(facts: Facts, waits: Waits) -> Iterator[Seen]:
    """Contacts are ready, and no known reason holds them up."""
    if facts.oldest is None:
        return
    last = facts.lane["last_minute"]
    idle_since = facts.oldest if last is None else max(facts.oldest, last + MINUTE)
    if idle_since <= facts.ago(waits.silence_s):
        said = facts.lane["breaker_reason"]
        why = f"nothing has been finished since; the CRM said: {said}" if said else "nothing has been finished since"
        yield facts.seen(Condition.SILENCE, idle_since, facts.due, why)
    elif facts.oldest <= facts.ago(waits.oldest_waiting_s):
        waited = span((facts.now - facts.oldest).total_seconds())
        reason = f"it has waited for {waited}; others are finished meanwhile"
        yield facts.seen(Condition.OLDEST_WAITING, facts.oldest, facts.due, reason)


def _of_outcomes(facts: Facts) -> Iterator[Seen]:
    lane = facts.lane
    finished, failed = lane["finished"], lane["failed"]
    if failed >= MANY_ERRORS and failed > SHARE_OF_ERRORS * finished:
        reason = f"{failed:,} of {finished:,} attempts, {failed / finished:.0%}"
        yield facts.seen(Condition.ERRORS, None, failed, reason)
    if lane["strays"]:
        yield facts.seen(Condition.STRAYS, lane["strays_since"], lane["strays"], f"{lane['strays']:,} flips within an hour")
    if lane["stuck"]:
        age = span((facts.now - lane["stuck_since"]).total_seconds())
        yield facts.seen(Condition.DELETIONS_STUCK, lane["stuck_since"], lane["stuck"], f"the oldest for {age}")


def _of_limits(facts: Facts) -> Iterator[Seen]:
    stored = facts.lane["budget"]
    if stored is None:
        return
    budget, now = Budget.from_json(loads(stored), facts.windows), facts.now.timestamp()
    for window in facts.windows:
        used = budget.used(window, now)
        if window.seconds == DAY_S and used >= NEARLY * window.limit:
            reason = f"{used:,} of {window.limit:,} requests in 24 hours, {used / window.limit:.0%}"
            yield facts.seen(Condition.LIMIT_NEARLY_USED, None, used, reason)
