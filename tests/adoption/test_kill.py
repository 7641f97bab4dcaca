"""An adoption or its undoing is killed at any point: run again, it ends as if it had not been."""

import re
import time

import pytest

from crm_sync.adoption.table import AdoptionRequest
from crm_sync.postgres import locks
from tests.adoption import field
from tests.adoption.conftest import Field, new_name
from tests.adoption.older import LINE, adopt_before
from tests.adoption.stops import stops
from tests.adoption.test_live import INVALID, held
from tests.harness import TIMEOUT_S
from tests.photograph import take
from tests.tiers import slow

ADOPT, UNDO = ("adopt",), ("adopt", "--undo", "--yes")
STEP = re.compile(r"^(CREATE|ALTER|DROP|INSERT|DELETE|UPDATE|SELECT crm_sync)", re.MULTILINE)
KILLED = 137
NOTES = "SELECT kind, name, crm FROM crm_sync.added ORDER BY kind, name"
LANES = "SELECT crm, remote_id_column, installed, on_delete, breaker FROM crm_sync.lanes ORDER BY id"


def looks(people):
    """Everything that an adoption leaves: the definitions, and its records."""
    with people.admin() as admin:
        assert admin.execute(INVALID).fetchone() == (0,)
        notes = [admin.execute(statement).fetchall() for statement in (NOTES, LANES)]
        return [*take(people.server, people.name).splitlines(), *map(str, notes)]


def pictures_of(server, crm_sync, *arguments):
    """(before, adopted) of an adoption that is not killed."""
    name = new_name()
    field.copy_database(server, name)
    people = Field(server, name, 0)
    before = take(server, name)
    assert crm_sync.run(people.url, *arguments)[0] == 0
    adopted = looks(people)
    server.drop_database(name)
    return before, adopted


@pytest.fixture(scope="module")
def pictures(field_server, crm_sync):
    return pictures_of(field_server, crm_sync, *ADOPT)


def kill_at_each_step(people, crm_sync, arguments):
    """In turn: the process and its statement are killed; its session is terminated; the process is killed, and its statement
    continues.

    Returns how often.
    """
    number = kills = 0
    while True:
        way = ("killed", "session", "killed, statement goes on")[kills % 3]
        with stops(people.server, people.name) as stop:
            stop.at(number=0 if way == "killed, statement goes on" else 1 + number, only_steps=True)
            command = crm_sync.start(people.url, *arguments)
            pid = stop.stopped(command)
            if pid is None:
                assert command.ended() == 0, command.said
                return kills
            if way == "session":
                stop.end_session(pid)
                assert command.ended() == 1, command.said
                assert_plain(command.said)
            else:
                command.kill()
                assert command.ended() == KILLED
                if way == "killed":
                    stop.end_session(pid)
            stop.release()
            stop.quiet()
        # A step of several statements must not be passed one statement at a time.
        number = 0 if way == "killed, statement goes on" or STEP.search(command.said) else number + 1
        kills += 1
        assert kills < 200


def assert_plain(said):
    assert said.splitlines()[-1].startswith("crm-sync: ")
    assert "Traceback" not in said


@slow
def test_killed_at_each_step_adoption_and_undoing_end_as_if_they_had_not_been(people, crm_sync):
    """For a CRM with some of its columns, and one without any."""
    arguments = (*ADOPT, "--crm", "hubspot", "--crm", "brevo")
    before, adopted = pictures_of(people.server, crm_sync, *arguments)
    assert kill_at_each_step(people, crm_sync, arguments) > 15
    assert looks(people) == adopted
    assert kill_at_each_step(people, crm_sync, UNDO) > 15
    assert take(people.server, people.name) == before


@slow
def test_killed_at_each_step_the_takeover_from_an_older_version_ends_as_if_it_had_not_been(people, crm_sync):
    arguments = (*ADOPT, "--crm", "hubspot", "--crm", "brevo")
    before, adopted = pictures_of(people.server, crm_sync, *arguments)
    adopt_before(people.url, LINE, AdoptionRequest(table=field.TABLE, crms=("hubspot", "brevo")))
    with people.admin() as application:
        application.execute("UPDATE crm.people SET brevo_sync_status = 'Queued' WHERE substr(id, 3)::integer <= 300")
        assert kill_at_each_step(people, crm_sync, ADOPT) >= 10
        line = "SELECT count(*), count(DISTINCT key) FROM crm_sync.brevo_line"
        assert application.execute(line).fetchone() == (300, 300)
        application.execute("UPDATE crm.people SET brevo_sync_status = 'New' WHERE brevo_sync_status = 'Queued'")
        application.execute("TRUNCATE crm_sync.brevo_line")
    assert looks(people) == adopted
    assert kill_at_each_step(people, crm_sync, UNDO) > 15
    assert take(people.server, people.name) == before


@pytest.mark.parametrize("way", ["killed", "session"])
@slow
def test_killed_among_the_migrations_nothing_of_them_stays_and_the_next_one_makes_them(people, crm_sync, pictures, way):
    before, adopted = pictures
    with stops(people.server, people.name) as stop:
        stop.at(number=-1)
        assert crm_sync.run(people.url, *ADOPT, "--plan")[0] == 0
        planned = stop.count()  # the plan makes them too, and rolls back
        stop.release()
    assert planned > 30
    # Objects that yoyo needs are created in between: the first points are there.
    for point in (planned, planned + 1, planned + 2, planned + 5, planned + 20, 2 * planned):
        with stops(people.server, people.name) as stop:
            stop.at(number=point)
            command = crm_sync.start(people.url, *ADOPT)
            pid = stop.stopped(command)
            assert pid is not None, command.said
            if way == "session":
                stop.end_session(pid)
                assert command.ended() == 1
                assert_plain(command.said)
            else:
                command.kill()
            stop.release()
            stop.quiet()
        with people.admin() as admin:
            assert admin.execute("SELECT to_regclass('crm_sync.lanes')").fetchone() == (None,), point
    if way == "session":
        assert crm_sync.run(people.url, *ADOPT)[0] == 0
        assert looks(people) == adopted
    assert crm_sync.run(people.url, *UNDO)[0] == 0
    assert take(people.server, people.name) == before


def until_building(people, command, phase):
    """Returns when an index build waits in this phase, or if it is None, when no index is being built."""
    deadline = time.monotonic() + TIMEOUT_S
    with people.admin() as admin:
        statement = "SELECT max(phase) FROM pg_stat_progress_create_index WHERE datname = current_database()"
        while admin.execute(statement).fetchone() != (phase,):
            assert command.code is None, command.said
            assert time.monotonic() < deadline
            time.sleep(0.005)


PHASES = {"row lock": "waiting for writers before build", "snapshot elsewhere": "waiting for old snapshots"}


@slow
@pytest.mark.parametrize("holder", PHASES)
@pytest.mark.parametrize("way", ["killed", "session", "interrupted"])
def test_killed_in_the_middle_of_an_index_the_next_one_takes_off_what_is_half_built(people, crm_sync, pictures, holder, way):
    _, adopted = pictures
    with stops(people.server, people.name) as stop:
        stop.at(words="idx_people_brevo_contact_id")
        command = crm_sync.start(people.url, *ADOPT)
        pid = stop.stopped(command)
        with held(people, holder):
            stop.release()
            until_building(people, command, PHASES[holder])
            with people.admin() as admin:
                assert admin.execute(INVALID).fetchone() == (1,)
            if way == "session":
                stop.end_session(pid)
                assert command.ended() == 1
                assert_plain(command.said)
            elif way == "killed":
                # Before the kill: the server checks whether a client is alive, and may end the session at once.
                again = crm_sync.start(people.url, *ADOPT)
                again.says("Waiting: another session")
                command.kill()
                until_building(people, again, None)
            else:
                command.interrupt()
                assert command.ended() == 1
                assert "Traceback" not in command.said
        if way != "killed":
            again = crm_sync.start(people.url, *ADOPT)
        assert again.ended() == 0, again.said
        assert "DROP INDEX CONCURRENTLY crm.idx_people_brevo_contact_id" in again.said
    assert looks(people) == adopted


@slow
def test_killed_in_the_middle_of_an_index_it_can_be_undone(people, crm_sync, pictures):
    before, _ = pictures
    with stops(people.server, people.name) as stop:
        stop.at(words="idx_people_brevo_contact_id")
        command = crm_sync.start(people.url, *ADOPT)
        pid = stop.stopped(command)
        with held(people, "snapshot elsewhere"):
            stop.release()
            until_building(people, command, "waiting for old snapshots")
            stop.end_session(pid)
            assert command.ended() == 1
    assert crm_sync.run(people.url, *UNDO)[0] == 0
    assert take(people.server, people.name) == before


@pytest.mark.parametrize("words", ["DROP FUNCTION crm_sync.add_crm", "DROP SCHEMA"])
@slow
def test_killed_while_the_schema_is_dropped_it_is_dropped_by_the_next_one(people, crm_sync, pictures, words):
    before, _ = pictures
    assert crm_sync.run(people.url, *ADOPT)[0] == 0
    with stops(people.server, people.name) as stop:
        stop.at(words=words)
        command = crm_sync.start(people.url, *UNDO)
        assert stop.stopped(command), command.said
        command.kill()
        stop.release()
        stop.quiet()
    assert crm_sync.run(people.url, *UNDO)[0] == 0
    assert take(people.server, people.name) == before


@pytest.mark.parametrize("words", ["CREATE INDEX CONCURRENTLY idx_people_brevo", "CREATE TRIGGER crm_sync_mautic"])
@slow
def test_a_server_that_restarts_in_the_middle_ends_it_plainly_and_it_goes_on_afterwards(people, crm_sync, pictures, words):
    _, adopted = pictures
    stop = stops(people.server, people.name)
    made = stop.__enter__()
    made.at(words=words)
    command = crm_sync.start(people.url, *ADOPT)
    assert made.stopped(command)
    people.server.stop("immediate")
    assert command.ended() == 1
    assert_plain(command.said)
    code, said = crm_sync.run(people.url, *ADOPT)
    assert code == 1, "it is not there"
    assert_plain(said)
    people.server.start()
    with people.admin() as admin:
        admin.execute("DROP EVENT TRIGGER stop; DROP SCHEMA stops CASCADE")
    made.abandon()
    assert crm_sync.run(people.url, *ADOPT)[0] == 0
    assert looks(people) == adopted


@slow
def test_a_table_that_was_dropped_is_undone_with_all_that_is_left(people, crm_sync):
    assert crm_sync.run(people.url, *ADOPT)[0] == 0
    with people.admin() as admin:
        admin.execute("DROP TABLE crm.people CASCADE")
        code, said = crm_sync.run(people.url, *UNDO)
        assert code == 0, said
        assert admin.execute("SELECT to_regnamespace('crm_sync'), to_regtype('crm.crm_sync_status')").fetchone() == (None, None)


@slow
def test_undoing_is_refused_while_a_worker_runs_and_says_where(people, crm_sync):
    assert crm_sync.run(people.url, *ADOPT)[0] == 0
    adopted = looks(people)
    with people.admin() as worker:
        [number] = worker.execute(
            "INSERT INTO crm_sync.workers (host, pid, version) VALUES ('a-host', 4711, '') RETURNING id"
        ).fetchone()
        worker.execute("SELECT pg_advisory_lock(%s, %s)", [locks.WORKER, number])
        code, said = crm_sync.run(people.url, *UNDO)
        assert code == 78
        assert "a-host (pid 4711)" in said.splitlines()[-1]
        assert looks(people) == adopted
        worker.execute("SELECT pg_advisory_unlock_all()")
    # The worker is dead: its row alone blocks nothing.
    assert crm_sync.run(people.url, *UNDO)[0] == 0


@pytest.mark.slow
def test_no_contact_of_a_dead_worker_is_left_in_flight(people, crm_sync):
    """In columns that existed before, and stay."""
    assert crm_sync.run(people.url, *ADOPT)[0] == 0
    with people.admin() as worker:
        worker.execute("UPDATE crm.people SET hubspot_sync_status = 'Queued' WHERE substr(id, 3)::integer <= 500")
        claimed = worker.execute(
            "UPDATE crm.people SET hubspot_sync_status = 'Processing', hubspot_processing_status = 'Processing', "
            "hubspot_claimed_by = 4294967297, hubspot_attempts = 1 WHERE hubspot_due_at IS NOT NULL"
        )
        assert claimed.rowcount == 500
        with people.application() as application:
            application.execute("UPDATE crm.people SET hubspot_sync_status = 'Queued' WHERE id = 'p-1'")
            application.execute("UPDATE crm.people SET hubspot_sync_status = 'On hold' WHERE id = 'p-2'")
        state = "SELECT hubspot_sync_status::text, hubspot_processing_status::text FROM crm.people"
        assert worker.execute(f"{state} WHERE id IN ('p-1', 'p-2') ORDER BY id").fetchall() == [
            ("Queued", "Processing"),
            ("On hold", "Processing"),
        ]
        assert crm_sync.run(people.url, *UNDO)[0] == 0
        ids = "substr(id, 3)::integer"
        assert worker.execute(f"SELECT DISTINCT * FROM ({state} WHERE {ids} <= 500 AND id <> 'p-2') AS s").fetchall() == [
            ("Queued", "Queued")
        ]
        assert worker.execute(f"{state} WHERE id = 'p-2'").fetchall() == [("On hold", None)]
        # Contacts that were not in flight keep their values.
        kept = f"SELECT count(*) FROM crm.people WHERE {ids} > 500 AND hubspot_processing_status = 'Stale'"
        assert worker.execute(kept).fetchone() == (84,)
