"""Alerts: one worker checks for problems, and reports each once.

The worker on duty is recorded in `crm_sync.alert_duty`, for as long as it is alive. Everything it knows is in `crm_sync.alerts`,
so that the next one continues from there. Every write checks that it is still on duty, so a worker that was frozen does not
repeat what another has reported. If a worker dies while sending, the message is sent again with the same id.

Nothing waits for alerts: the lanes do not know about them, and an error here is logged and retried.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from crm_sync import events
from crm_sync.core.alert import Alert, Condition, Message, Rules, Seen
from crm_sync.core.rate import Window
from crm_sync.core.text import clean
from crm_sync.core.waits import USUAL, Waits
from crm_sync.errors import ChannelError, ConfigurationError, DatabaseTroubleError
from crm_sync.log import Trouble
from crm_sync.postgres.pool import Database
from crm_sync.postgres.session import Session
from crm_sync.postgres.statements import query, render
from crm_sync.table.adopted_table import LaneTable
from crm_sync.telling.alert_codes import AlertCodes
from crm_sync.telling.alert_conditions import Facts, conditions, new_codes
from crm_sync.telling.alert_message import message
from crm_sync.telling.channels import Channels

MOST_MESSAGES = 20  # sent after one look: the others wait for the next
TIDY_S = 600.0

log = structlog.get_logger()


class Alerts:
    """tables: returns the current one of each installed CRM. windows: the limits of each account known here. advised: adds to an
    error what a person can do.
    """

    def __init__(
        self,
        database: Database,
        session: Session,
        channels: Channels,
        *,
        tables: Callable[[], Mapping[str, LaneTable]],
        windows: Mapping[str, Sequence[Window]],
        advised: Callable[[ConfigurationError], str] = str,
        waits: Waits = USUAL,
    ) -> None:
        self._database = database
        self._session = session
        self._channels = channels
        self._tables = tables
        self._windows = windows
        self._advised = advised
        self._waits = waits
        self._rules = Rules(waits, channels.names)
        self._codes = AlertCodes()
        self._trouble = Trouble(loop="alerts")
        self._failures: dict[str, str] = {}  # failing channels, and why
        self._tidied_at = -TIDY_S
        self._pinged_at = -waits.alert_ping_s
        self._is_well = True  # as of the last ping

    async def run(self) -> None:
        """Runs for as long as the worker does."""
        with self._codes.counting():
            while True:
                await self._session.opened.wait()
                try:
                    await self.look()
                except ConfigurationError as error:
                    # A missing right or table: contacts are still delivered.
                    self._trouble.tell(ConfigurationError(self._advised(error)), note="no alerts; contacts are delivered")
                except DatabaseTroubleError as error:
                    self._trouble.tell(error)
                else:
                    self._trouble.over()
                await asyncio.sleep(self._waits.alert_look_s)

    async def end(self) -> None:
        """Writes what was counted since the last look, before the worker ends. Raises nothing, because it covers only some
        seconds.
        """
        with suppress(DatabaseTroubleError, ConfigurationError):
            await self._codes.write(self._database, self._waits)

    async def look(self) -> bool:
        """Looks once. Returns whether this worker was on duty. Raises as Database.fetch does."""
        await self._codes.write(self._database, self._waits)
        if not await self._database.value(query("take_alert_duty"), self._session.known_id):
            return False
        facts = await self._facts()
        if not facts:
            return True
        now, database = facts[0].now, facts[0].lane["database"]
        seen, known = await self._seen(facts), await self._open_alerts()
        await self._note(seen, known, now)
        alerts = await self._open_alerts() if seen or known else []
        await self._tell([alert for alert in alerts if self._rules.to_tell(alert, now)][:MOST_MESSAGES], database, now)
        await self._give_up([alert for alert in alerts if self._rules.is_given_up(alert, now)])
        await self._ping(well=not any(alert.is_open for alert in alerts))
        await self._tidy()
        return True

    # Looking.

    async def _facts(self) -> list[Facts]:
        waits = self._waits
        rows = await self._database.fetch(query("list_alert_facts"), waits.errors_s, waits.strays_s, waits.deletions_stuck_s)
        tables = self._tables()
        return [await self._of_a_crm(row, tables.get(row["crm"])) for row in map(dict, rows)]

    async def _of_a_crm(self, lane: Mapping[str, Any], table: LaneTable | None) -> Facts:
        windows = self._windows.get(lane["crm"], ())
        if table is not None:
            with suppress(ConfigurationError):  # its columns are incomplete: the lane reports it
                line = (await self._database.fetch(render("measure_line", table.variables)))[0]
                return Facts(lane, line["due"], line["oldest"], windows)
        return Facts(lane, windows=windows)

    async def _seen(self, facts: Sequence[Facts]) -> list[Seen]:
        codes = await self._database.fetch(query("list_new_codes"), self._waits.code_new_s, self._waits.code_gone_s)
        return [*(one for of_crm in facts for one in conditions(of_crm, self._waits)), *new_codes([dict(row) for row in codes])]

    async def _open_alerts(self) -> list[Alert]:
        """Conditions that only a later version knows are left alone."""
        rows = await self._database.fetch(query("list_open_alerts"))
        return [_alert(dict(row)) for row in rows if row["condition"] in Condition.__members__]

    async def _note(self, seen: Sequence[Seen], rows: Sequence[Alert], now: datetime) -> None:
        known = {alert.key: alert for alert in rows if alert.ended_at is None}
        holds = {one.key: one for one in seen}
        for key, one in holds.items():
            if key in known:
                await self._change(known[key], self._rules.seen_again(known[key], one, now))
            else:
                await self._add(one, now)
        for key in known.keys() - holds.keys():
            after = self._rules.not_seen(known[key], now)
            if after is None:
                await self._database.fetch(query("drop_passed_alert"), self._session.known_id, known[key].id)
            else:
                await self._change(known[key], after)

    async def _add(self, seen: Seen, now: datetime) -> None:
        raised = now if self._rules.is_raised(seen.condition, now, now) else None
        untold = self._channels.names if raised else []
        reason = clean(seen.reason)
        written = await self._database.fetch(
            query("add_alert"),
            self._session.known_id,
            *(seen.condition.value, seen.crm, seen.code, seen.since, now, raised, seen.count, reason, untold),
        )
        if written and raised:
            log.warning(
                events.ALERT_RAISED,
                **_named(seen.condition, seen.crm, seen.code),
                since=seen.since.isoformat(),
                count=seen.count,
                reason=reason,
            )

    async def _change(self, before: Alert, after: Alert) -> None:
        reason = clean(after.reason)
        written = await self._database.fetch(
            query("change_alert"),
            self._session.known_id,
            *(after.id, after.since, after.first_seen_at, after.seen_at, after.well_since, after.raised_at, after.ended_at),
            *(after.contacts, reason, after.message, after.message_at, list(after.untold), list(after.told)),
            *(after.tries, after.next_try_at),
        )
        if not written:
            return
        names = _named(after.condition, after.crm, after.code)
        if before.raised_at is None and after.raised_at is not None:
            log.warning(events.ALERT_RAISED, **names, since=after.since.isoformat(), count=after.contacts, reason=reason)
        if before.ended_at is None and after.ended_at is not None:
            lasted_s = round((after.until - after.since).total_seconds())
            log.info(events.ALERT_OVER, **names, lasted_s=lasted_s, count=after.contacts)

    # Sending.

    async def _tell(self, alerts: Sequence[Alert], database: str, now: datetime) -> None:
        """All at once, so that a slow channel does not delay the others; the statements one by one."""
        ours = [alert for alert in alerts if await self._begin(alert)]
        told = await asyncio.gather(*(self._hand_out(alert, message(alert, database, now)) for alert in ours))
        for alert, channels in zip(ours, told, strict=True):
            again_s = self._rules.again_s(alert.tries)
            await self._database.fetch(query("end_telling"), alert.id, alert.message, channels, again_s)

    async def _begin(self, alert: Alert) -> bool:
        arguments = (self._session.known_id, alert.id, alert.message, alert.tries, self._waits.telling_lease_s)
        return bool(await self._database.fetch(query("begin_telling"), *arguments))

    async def _hand_out(self, alert: Alert, body: Mapping[str, Any]) -> list[str]:
        """Returns the channels that were told."""
        channels = [channel for channel in self._channels.told if channel.name in alert.untold]
        answers = await asyncio.gather(*(self._attempt(channel.name, channel.tell(body)) for channel in channels))
        return [channel.name for channel, is_told in zip(channels, answers, strict=True) if is_told]

    async def _attempt(self, channel: str, telling: Awaitable[None]) -> bool:
        """Whether it was told. If not, the reason is logged, once for each reason."""
        try:
            await telling
        except ChannelError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 (told by its type: a channel's fault is nobody else's)
            reason = f"an unexpected error: {type(error).__name__}"
        else:
            self._failures.pop(channel, None)
            return True
        if self._failures.get(channel) != reason:
            self._failures[channel] = reason
            log.error(events.ALERT_NOT_TOLD, channel=channel, reason=reason, note="try it with: crm-sync alerts test")
        return False

    async def _give_up(self, alerts: Sequence[Alert]) -> None:
        """Alerts that could not be sent to anyone for long are dropped."""
        for alert in alerts:
            if alert.untold:
                await self._change(alert, alert.saying(Message.OVER, [], alert.ended_at or alert.seen_at))

    async def _ping(self, *, well: bool) -> None:
        """At its interval, and at once when the state changes."""
        ping, now = self._channels.ping, time.monotonic()
        if ping is None or (well is self._is_well and now < self._pinged_at + self._waits.alert_ping_s):
            return
        self._pinged_at, self._is_well = now, well
        await self._attempt(ping.name, ping.ping(well=well))

    async def _tidy(self) -> None:
        if time.monotonic() >= self._tidied_at + TIDY_S:
            self._tidied_at = time.monotonic()
            await self._database.fetch(query("drop_old_alerts"))


def _alert(row: Mapping[str, Any]) -> Alert:
    values = dict(row)
    said = values["message"]
    return Alert(**{**values, "condition": Condition[values["condition"]], "message": None if said is None else Message(said)})


def _named(condition: Condition, crm: str, code: str) -> dict[str, str]:
    return {"alert": condition.value, "crm": crm, **({"code": code} if code else {})}
