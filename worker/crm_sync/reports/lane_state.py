"""The state of each lane in words: whether its CRM may be called, and why not. The words are the same everywhere."""

from dataclasses import dataclass
from datetime import datetime

from crm_sync.core.durations import clock, span
from crm_sync.core.text import clean
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.installed import installed
from crm_sync.reports.rights import Needs

TO_PAUSE = Needs(
    lacking="the role {role} of DATABASE_URL may not pause and resume. Use the owner's, or let the owner run: "
    "GRANT USAGE ON SCHEMA crm_sync TO {role}; "
    "GRANT SELECT, UPDATE (held_since, held_reason, revision) ON TABLE crm_sync.lanes TO {role}; "
    "GRANT SELECT ON TABLE crm_sync.living_workers TO {role}; "
    "GRANT SELECT, INSERT ON TABLE crm_sync.events TO {role};",
    absent="there is no table crm_sync.lanes, or an old one: run `crm-sync migrate`",
)


@dataclass(frozen=True, slots=True)
class LaneState:
    """A row of list_lane_states.sql. breaker: closed, throttled, open or half-open; openings: consecutive ones of a CRM that is
    down.

    fault: what keeps a worker from delivering until a person helps. Other workers may deliver anyway. fault_since: None if no
    worker has reported it.
    """

    crm: str
    breaker: str
    breaker_since: datetime
    breaker_reason: str | None
    next_probe_at: datetime | None
    openings: int
    held_since: datetime | None
    held_reason: str | None
    now: datetime
    fault: str | None = None
    fault_since: datetime | None = None

    def __post_init__(self) -> None:
        """Reasons come from people and CRMs, and the table may have been edited by hand, so they are cleaned for every use."""
        for name in ("held_reason", "breaker_reason"):
            if (reason := getattr(self, name)) is not None:
                object.__setattr__(self, name, clean(reason))

    @property
    def held(self) -> bool:
        return self.held_since is not None

    @property
    def down(self) -> bool:
        """Also if it refuses every contact, and while it is being probed."""
        return self.breaker != "closed" and self.openings > 0

    @property
    def open(self) -> bool:
        return not self.held and self.fault is None and self.breaker == "closed"

    @property
    def label(self) -> str:
        """One word, for a cell."""
        if self.held:
            return "paused"
        if self.fault is not None:
            return "faulty"
        return {"closed": "delivering", "throttled": "throttled", "half-open": "probing"}.get(self.breaker, "down")

    @property
    def sentence(self) -> str:
        """In full."""
        parts = [
            *(
                [f"paused by hand {self._since(self.held_since)}: {self.held_reason or 'no reason given'}"]
                if self.held_since
                else []
            ),
            *(
                [f"a worker cannot deliver{f' {self._since(self.fault_since)}' if self.fault_since else ''}: {self.fault}"]
                if self.fault is not None
                else []
            ),
            *([self._of_the_breaker()] if self.breaker != "closed" else []),
        ]
        return "; besides, ".join(parts) or "delivering"

    def _of_the_breaker(self) -> str:
        since, reason = self._since(self.breaker_since), self.breaker_reason or "no reason known"
        if self.down:
            return f"down {since}: {reason}; {self._next('probe')}"
        return f"too many requests {since}, {self._next('call')} ({reason})"

    def _next(self, what: str) -> str:
        if self.held:
            return f"no {what} until it is resumed"
        if self.breaker == "half-open" or self.next_probe_at is None:
            return "being probed now"
        wait_s = (self.next_probe_at - self.now).total_seconds()
        return f"next {what} in {span(wait_s)}" if wait_s >= 0.5 else f"next {what} as soon as a contact is ready"

    def _since(self, moment: datetime) -> str:
        return f"since {clock(moment, self.now)} ({span((self.now - moment).total_seconds())})"


async def read_lane_states(database: Database) -> dict[str, LaneState]:
    """By CRM, in the order of installation. Raises as Database.fetch does."""
    return {row["crm"]: LaneState(**dict(row)) for row in await database.fetch(query("list_lane_states"))}


async def read_lane_state(database: Database, crm: str) -> LaneState:
    """For the CRM that a person names. Raises click.BadParameter with the installed CRMs, else as Database.fetch does."""
    lane_states = await read_lane_states(database)
    return lane_states[installed(crm, lane_states)]
