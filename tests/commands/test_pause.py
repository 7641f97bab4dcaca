"""Pausing a CRM by hand. That workers obey the row is tested with the lane."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor

import click.testing
import pytest

from crm_sync.cli import crm_sync
from crm_sync.core.text import MAX_REASON_CHARACTERS
from crm_sync.core.waits import Waits
from tests.harness import TIMEOUT_S
from tests.process import ended, environment, process
from tests.roles import WORKER

LANE = "SELECT held_since, held_reason, revision, breaker, openings FROM crm_sync.lanes WHERE crm = 'brevo'"


def run(url: str, *arguments: str, waits: Waits | None = None) -> click.testing.Result:
    """In a thread, because a command runs its own event loop."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url, "COLUMNS": "120", "TZ": "UTC"}
        return thread.submit(click.testing.CliRunner().invoke, crm_sync, arguments, env=env, obj=waits).result()


def done(url: str, *arguments: str) -> str:
    answer = run(url, *arguments)
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.output


async def test_a_pause_stands_in_the_table_with_its_reason_by_the_clock_of_the_database(app, url):
    before = await app.fetchval("SELECT clock_timestamp()")
    done(url, "pause", "brevo", "--reason", "the key is being rotated")
    lane_state = await app.fetchrow(LANE)
    assert before < lane_state["held_since"] < await app.fetchval("SELECT clock_timestamp()")
    assert lane_state["held_reason"] == "the key is being rotated"


async def test_a_pause_tells_a_new_user_what_happens_now_and_how_to_go_on(url):
    said = " ".join(done(url, "pause", "brevo", "--reason", "key rotation").split())
    assert "brevo is paused for all workers: key rotation" in said
    assert "Requests in flight end" in said
    assert "keep their place in line" in said
    assert "flips are still accepted" in said
    assert "crm-sync resume brevo" in said


async def test_a_pause_leaves_the_other_crms_and_the_breaker_as_they_are(app, url):
    await app.execute("UPDATE crm_sync.lanes SET breaker = 'open', breaker_reason = 'TIMEOUT: slow', openings = 3")
    others = "SELECT * FROM crm_sync.lanes WHERE crm <> 'brevo' ORDER BY id"
    before = await app.fetch(others)
    done(url, "pause", "brevo", "--reason", "enough")
    done(url, "resume", "brevo")
    assert await app.fetch(others) == before
    assert tuple(await app.fetchrow(LANE))[3:] == ("open", 3)


async def test_pausing_and_resuming_are_told_to_all_workers_at_once(app, other_app, url):
    heard: asyncio.Queue[str] = asyncio.Queue()
    await other_app.add_listener("crm_sync", lambda *arguments: heard.put_nowait(arguments[3]))
    for command in (("pause", "brevo", "--reason", "x"), ("resume", "brevo")):
        done(url, *command)
        async with asyncio.timeout(TIMEOUT_S):
            assert await heard.get() == "news brevo"
    assert heard.empty()


async def test_every_change_counts_the_revision_up_so_that_no_worker_writes_over_it(app, url):
    revisions = [(await app.fetchrow(LANE))["revision"]]
    for command in (("pause", "brevo", "--reason", "x"), ("pause", "brevo", "--reason", "y"), ("resume", "brevo")):
        done(url, *command)
        revisions.append((await app.fetchrow(LANE))["revision"])
    assert revisions == list(range(revisions[0], revisions[0] + 4))


async def test_pausing_what_is_paused_keeps_since_when_and_takes_the_new_reason(app, url):
    done(url, "pause", "brevo", "--reason", "first")
    since = (await app.fetchrow(LANE))["held_since"]
    await app.execute("UPDATE crm_sync.events SET actor = 'ada'")
    said = done(url, "pause", "brevo", "--reason", "second")
    lane_state = await app.fetchrow(LANE)
    assert (lane_state["held_since"], lane_state["held_reason"]) == (since, "second")
    assert "was paused already, since" in said
    assert "), by ada: first" in said
    assert "The reason is now: second" in said
    deeds = await app.fetch("SELECT details FROM crm_sync.events WHERE event = 'lane_held' ORDER BY at")
    assert [json.loads(row["details"]) for row in deeds] == [
        {"reason": "first"},
        {"reason": "second", "was": "first", "was_by": "ada"},
    ]


async def test_a_pause_of_which_nothing_is_written_down_has_a_reason_all_the_same(app, url):
    done(url, "pause", "brevo", "--reason", "long ago")
    done(url, "resume", "brevo")
    await app.execute("UPDATE crm_sync.lanes SET held_since = clock_timestamp(), held_reason = 'by hand' WHERE crm = 'brevo'")
    said = done(url, "pause", "brevo", "--reason", "second")
    assert "), by hand" in said  # and not by whoever paused it before


async def test_resuming_ends_the_pause_and_tells_what_it_was_for(app, url):
    done(url, "pause", "brevo", "--reason", "key rotation")
    await app.execute("UPDATE crm_sync.lanes SET held_since = held_since - interval '4 minutes' WHERE crm = 'brevo'")
    said = done(url, "resume", "brevo")
    assert tuple(await app.fetchrow(LANE))[:2] == (None, None)
    assert "It was paused for 4 min: key rotation" in said
    assert "not delivering yet" not in said


async def test_resuming_a_crm_that_is_down_says_that_it_is(app, url):
    done(url, "pause", "brevo", "--reason", "x")
    await app.execute(
        "UPDATE crm_sync.lanes SET breaker = 'open', breaker_reason = 'UNREACHABLE: refused', openings = 3, "
        "breaker_since = now() - interval '4 minutes', next_probe_at = now() + interval '40 seconds' WHERE crm = 'brevo'"
    )
    said = done(url, "resume", "brevo")
    assert "brevo is resumed" in said
    assert "It is not delivering yet: down since" in said
    assert "UNREACHABLE: refused; next probe in" in said


async def test_resuming_what_is_not_paused_changes_nothing_and_is_no_failure(app, url):
    before = await app.fetchrow(LANE)
    assert "brevo is not paused by hand: nothing to do" in done(url, "resume", "brevo")
    assert await app.fetchrow(LANE) == before


@pytest.mark.parametrize("command", [("pause", "pipedrive", "--reason", "x"), ("resume", "pipedrive")])
async def test_a_crm_that_is_not_installed_is_wrong_input_and_those_that_are_get_named(url, command):
    answer = run(url, *command)
    assert answer.exit_code == 2
    assert "pipedrive is not installed" in answer.output
    assert "hubspot, brevo, mautic, n8n" in answer.output


async def test_a_crm_is_known_however_it_is_written(app, url):
    done(url, "pause", " Brevo", "--reason", "x")
    assert (await app.fetchrow(LANE))["held_since"] is not None


@pytest.mark.parametrize("arguments", [(), ("--reason", ""), ("--reason", " \n\t ")])
async def test_a_pause_needs_a_reason(app, url, arguments):
    answer = run(url, "pause", "brevo", *arguments)
    assert answer.exit_code == 2
    assert "--reason" in answer.output
    assert (await app.fetchrow(LANE))["held_since"] is None


async def test_a_reason_is_one_line_without_addresses_and_of_a_length_that_can_be_shown(app, url):
    done(url, "pause", "brevo", "--reason", "ask ada@example.com\n\x1b[31m" + "x" * 1000)
    reason = (await app.fetchrow(LANE))["held_reason"]
    assert reason.startswith("ask *** [31mxxx")
    assert len(reason) == MAX_REASON_CHARACTERS


TURNED = "safe \u202egnp.exe\u202c \u2066x\u2069\u200e\u061c \x1b[31m\ufeff\u200bend"


async def test_a_reason_turns_no_text_around_wherever_it_is_stored_and_shown(app, url):
    done(url, "pause", "brevo", "--reason", TURNED)
    clean_reason = (await app.fetchrow(LANE))["held_reason"]
    assert clean_reason == "safe gnp.exe x [31m end"
    assert json.loads(await app.fetchval("SELECT details FROM crm_sync.events"))["reason"] == clean_reason
    # As written by a program that bypasses our interfaces.
    await app.execute("UPDATE crm_sync.lanes SET held_reason = $1 WHERE crm = 'brevo'", TURNED)
    for command in (("status",), ("status", "--json"), ("pause", "brevo", "--reason", "again"), ("resume", "brevo")):
        said = done(url, *command)
        assert not set(said) & set("\u202e\u202c\u2066\u2069\u200e\u061c\ufeff\u200b"), command
        assert "\\u202e" not in said, command
        if "pause" not in command:
            await app.execute("UPDATE crm_sync.lanes SET held_reason = $1 WHERE crm = 'brevo'", TURNED)


async def test_a_pause_is_on_disk_before_it_is_said_to_be_one(app, url):
    """A worker's statements need not wait for the disk, but a person's pause must survive a crash."""
    await app.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "INSERT INTO public.commits VALUES (current_setting('synchronous_commit')); RETURN NULL; END$$; "
        "CREATE TABLE commits (setting text); "
        # Deferred: it runs at the commit, with the settings of the commit.
        "CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON crm_sync.lanes DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION note()"
    )
    done(url, "pause", "brevo", "--reason", "x")
    done(url, "resume", "brevo")
    assert [row[0] for row in await app.fetch("SELECT setting FROM commits")] == ["on", "on"]


async def test_two_who_pause_at_once_are_one_pause(app, other_app, url):
    env = environment(url, owner=True)
    waiting = "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    held = app.transaction()
    await held.start()
    await app.execute("SELECT FROM crm_sync.lanes FOR UPDATE")  # before either of them can come so far
    async with process(env, "pause", "brevo", "--reason", "one") as one, process(env, "pause", "brevo", "--reason", "two") as two:
        async with asyncio.timeout(TIMEOUT_S):
            while not await other_app.fetchval(waiting):  # noqa: ASYNC110 (the server has no event for it)
                await asyncio.sleep(0.01)
        await held.commit()
        for running in (one, two):
            assert (await ended(running))[0] == 0
    lane_state = await app.fetchrow(LANE)
    assert lane_state["revision"] == 2
    assert lane_state["held_reason"] in ("one", "two")


# Rights.


async def test_the_role_of_a_worker_may_not_pause_and_is_told_the_grants(app, url):
    for command in (("pause", "brevo", "--reason", "x"), ("resume", "brevo")):
        async with process(environment(url), *command) as running:
            code, out, err = await ended(running)
        assert (code, out) == (78, "")
        assert f"the role {WORKER} of DATABASE_URL may not pause and resume" in err
        assert "Traceback" not in err
    grants = err.partition("let the owner run: ")[2]
    await app.execute(grants)
    for command in (("pause", "brevo", "--reason", "x"), ("resume", "brevo")):
        async with process(environment(url), *command) as running:
            code, out, err = await ended(running)
        assert (code, err) == (0, "")


async def test_a_role_that_may_nothing_is_told_the_grants_too(app, url):
    name = f"on_call_{os.getpid()}"
    await app.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE {url.rpartition('/')[2]} TO {name}")
    try:
        theirs = f"postgresql://{name}:x@{url.rpartition('@')[2]}"
        async with process({"DATABASE_URL": theirs}, "pause", "brevo", "--reason", "x") as running:
            code, _, err = await ended(running)
        assert code == 78
        await app.execute(err.partition("let the owner run: ")[2])
        assert "paused for all workers" in done(theirs, "pause", "brevo", "--reason", "x")
    finally:
        await app.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_database_without_the_schema_is_told_what_to_do(empty_url):
    async with process(environment(empty_url, owner=True), "pause", "brevo", "--reason", "x") as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "run `crm-sync migrate`" in err
