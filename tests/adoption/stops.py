"""Stops an adoption at a statement, so that it can be killed there: an event trigger that waits for a lock held by the test."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from crm_sync.sandbox.postgres import Server
from tests.adoption.commands import TIMEOUT_S, Command

# Each DDL statement waits if it is the one to stop at. The trigger is dropped before a photograph is taken.
SCHEMA = """
CREATE SCHEMA stops;
-- Unlogged: a number of another one is a change, and an index is dropped beside the writers as the first one only.
CREATE UNLOGGED SEQUENCE stops.counter MINVALUE 0;
CREATE TABLE stops.wanted (number bigint, words text, only_steps boolean);
INSERT INTO stops.wanted DEFAULT VALUES;
GRANT USAGE ON SCHEMA stops TO PUBLIC;
CREATE FUNCTION stops.stop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    wanted stops.wanted;
BEGIN
    IF current_setting('application_name') <> 'crm-sync adopt' OR tg_tag = 'CREATE SCHEMA' THEN
        RETURN;
    END IF;
    SELECT * INTO wanted FROM stops.wanted;
    IF wanted.only_steps AND current_query() !~ '^(BEGIN; SET LOCAL|(CREATE|DROP) INDEX CONCURRENTLY)' THEN
        RETURN;
    END IF;
    IF nextval('stops.counter') = wanted.number OR position(wanted.words IN current_query()) > 0 THEN
        PERFORM pg_advisory_xact_lock(7, 7);
    END IF;
END;
$$;
CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION stops.stop();
"""
WAITS = """
    SELECT l.pid FROM pg_locks AS l JOIN pg_database AS d ON l.database = d.oid
    WHERE l.locktype = 'advisory' AND l.classid = 7 AND NOT l.granted AND d.datname = current_database()
"""
GOES_ON = """
    SELECT count(*) FROM pg_stat_activity WHERE application_name = 'crm-sync adopt' AND datname = current_database()
"""


class Stops:
    def __init__(self, server: Server, name: str) -> None:
        self._admin = psycopg.connect(server.url(name), autocommit=True)
        self._admin.execute(SCHEMA.encode())

    def at(self, *, number: int | None = None, words: str | None = None, only_steps: bool = False) -> None:
        """From now on, the statement with this number, counted from 0, or those that contain these words, wait.

        only_steps: but not those of migrations.
        """
        self._admin.execute("SELECT pg_advisory_lock(7, 7), setval('stops.counter', 0, FALSE)")
        self._admin.execute("UPDATE stops.wanted SET number = %s, words = %s, only_steps = %s", [number, words, only_steps])

    def stopped(self, command: Command) -> int | None:
        """The server process that waits; None if the command ended without getting there."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            over = command.code is not None
            if row := self._admin.execute(WAITS).fetchone():
                return int(row[0])
            if over:
                return None
            assert time.monotonic() < deadline, command.said
            time.sleep(0.003)

    def release(self) -> None:
        """The statement continues, and no other one waits."""
        self._admin.execute("UPDATE stops.wanted SET number = NULL, words = NULL")
        self._admin.execute("SELECT pg_advisory_unlock_all()")

    def end_session(self, pid: int) -> None:
        self._admin.execute("SELECT pg_terminate_backend(%s)", [pid])

    def quiet(self) -> None:
        """Returns when no session of an adoption is left."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._admin.execute(GOES_ON).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.003)

    def count(self) -> int:
        """The number of statements seen since at()."""
        row = self._admin.execute("SELECT last_value + is_called::integer FROM stops.counter").fetchone()
        return 0 if row is None else int(row[0])

    def abandon(self) -> None:
        """The server is gone, and with it everything here."""
        self._admin.close()

    def close(self) -> None:
        self.release()
        self._admin.execute("DROP EVENT TRIGGER stop; DROP SCHEMA stops CASCADE")
        self._admin.close()


@contextmanager
def stops(server: Server, name: str) -> Iterator[Stops]:
    made = Stops(server, name)
    try:
        yield made
    except BaseException:
        made.abandon()
        raise
    made.close()
