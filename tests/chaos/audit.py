"""The claims as the table saw them: an application trigger records when each begins and ends.

The row lock serialises everything that happens to a row, so this is the order in which flips, claims and finishes took effect.
"""

import uuid
from dataclasses import dataclass
from enum import IntEnum

import asyncpg

from crm_sync.sandbox.process import CRMS
from tests.roles import WORKER

TABLE = """
    CREATE SCHEMA chaos;
    CREATE TABLE chaos.claims (
        number bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        crm text NOT NULL,
        contact uuid NOT NULL,
        token bigint NOT NULL,
        kind smallint NOT NULL
    );
    CREATE TABLE chaos.flips (crm text NOT NULL, contact uuid NOT NULL);
    CREATE FUNCTION chaos.note_flip() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO chaos.flips (crm, contact) VALUES (TG_ARGV[0], OLD.id);
        RETURN NULL;
    END;
    $$;
"""
TRIGGERS = """
    -- A worker has no rights in this schema.
    CREATE FUNCTION chaos.note_{crm}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO chaos.claims (crm, contact, token, kind)
        SELECT
            '{crm}',
            OLD.id,
            coalesce(OLD.{crm}_claimed_by, NEW.{crm}_claimed_by),
            CASE
                WHEN TG_OP = 'DELETE' THEN 3
                WHEN OLD.{crm}_claimed_by IS NULL THEN 0
                WHEN NEW.{crm}_synced_at IS DISTINCT FROM OLD.{crm}_synced_at THEN 1
                ELSE 2
            END;
        RETURN NULL;
    END;
    $$;
    CREATE TRIGGER chaos_{crm}_claim AFTER UPDATE OF {crm}_claimed_by ON contacts FOR EACH ROW
    WHEN (OLD.{crm}_claimed_by IS DISTINCT FROM NEW.{crm}_claimed_by) EXECUTE FUNCTION chaos.note_{crm}();
    -- By a worker: what landed late is sent over.
    CREATE TRIGGER chaos_{crm}_flip AFTER UPDATE OF {crm}_sync_status ON contacts FOR EACH ROW
    WHEN (NEW.{crm}_flipped_at IS DISTINCT FROM OLD.{crm}_flipped_at AND session_user = '{worker}')
    EXECUTE FUNCTION chaos.note_flip('{crm}');
    CREATE TRIGGER chaos_{crm}_delete AFTER DELETE ON contacts FOR EACH ROW
    WHEN (OLD.{crm}_claimed_by IS NOT NULL) EXECUTE FUNCTION chaos.note_{crm}();
"""
READ_FLIPS = "SELECT crm, contact, count(*) FROM chaos.flips GROUP BY crm, contact"
READ_LINES = """
    SELECT crm, key::uuid AS contact, extract(EPOCH FROM at)::float8 AS at, outcome, worker FROM crm_sync.history
    WHERE operation = 'upsert' ORDER BY at
"""
READ = "SELECT extract(EPOCH FROM at)::float8 AS at, crm, contact, token, kind FROM chaos.claims ORDER BY number"


class End(IntEnum):
    """How a claim ended."""

    DELIVERED = 1
    UNDELIVERED = 2
    DELETED = 3  # the application deleted the row in flight: the worker learns of it at the finish


@dataclass(slots=True)
class Claim:
    """began, ended: seconds since 1970. end: None for an open one."""

    token: int
    began: float
    ended: float | None = None
    end: End | None = None

    @property
    def worker(self) -> int:
        return self.token >> 32


Claims = dict[tuple[str, uuid.UUID], list[Claim]]
Flips = dict[tuple[str, uuid.UUID], int]


async def install(app: asyncpg.Connection) -> None:
    await app.execute(TABLE + "".join(TRIGGERS.format(crm=crm, worker=WORKER) for crm in CRMS))


async def read(app: asyncpg.Connection) -> Claims:
    """By CRM and contact, in order. What the server lost in a crash is missing: workers and audit lose the same."""
    claims: Claims = {}
    async with app.transaction():
        async for row in app.cursor(READ, prefetch=5000):
            those = claims.setdefault((row["crm"], row["contact"]), [])
            if row["kind"] == 0:
                those.append(Claim(row["token"], row["at"]))
            elif those and those[-1].token == row["token"]:
                those[-1].ended, those[-1].end = row["at"], End(row["kind"])
    return claims


@dataclass(frozen=True, slots=True)
class Line:
    """A line of history. at: seconds since 1970."""

    at: float
    outcome: str
    worker: int


Lines = dict[tuple[str, uuid.UUID], list[Line]]


async def read_lines(app: asyncpg.Connection) -> Lines:
    """The lines of history, by CRM and contact, in order."""
    lines: Lines = {}
    for row in await app.fetch(READ_LINES):
        lines.setdefault((row["crm"], row["contact"]), []).append(Line(row["at"], row["outcome"], row["worker"]))
    return lines


async def read_flips(app: asyncpg.Connection) -> Flips:
    """How often workers flipped each contact, by CRM and contact."""
    return {(row["crm"], row["contact"]): row["count"] for row in await app.fetch(READ_FLIPS)}
