"""Sending failed contacts again. Which contacts the statements select: tests/table/test_failed_contacts.py."""

import asyncio
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import click.testing
import pytest

from crm_sync.cli import crm_sync
from crm_sync.core.outcome import Outcome
from crm_sync.table.short_flips import Bounds
from tests.harness import TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.process import ended, environment, process
from tests.roles import adopt, as_worker, granted, nobody
from tests.steps import insert
from tests.table.test_failed_contacts import fails
from tests.tiers import slow

RETRYING = f"crm_sync_retrying_{os.getpid()}"
FAILED = (
    "INSERT INTO contacts (email, {crm}_sync_status, {crm}_processing_status, {crm}_processing_error) "
    "SELECT n || '@example.com', 'Error', 'Error', $2 FROM generate_series(1, $1::integer) AS n"
)
QUEUED = "count(*) FROM contacts WHERE brevo_sync_status = 'Queued'"
TRIGGER = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$;
CREATE TRIGGER meddle BEFORE UPDATE ON contacts FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION meddle();
"""


def run(url: str, *arguments: str, bounds: Bounds | None = None) -> click.testing.Result:
    """In a thread, because a command runs its own event loop."""
    answers = () if "--preview" in arguments else ("--yes",)
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url, "COLUMNS": "80", "TZ": "UTC"}
        return thread.submit(
            click.testing.CliRunner().invoke, crm_sync, ["retry", *answers, *arguments], env=env, obj=bounds
        ).result()


def said(url: str, *arguments: str, code: int = 0, bounds: Bounds | None = None) -> str:
    """Its output as one line without table frames, because line breaks depend on the terminal."""
    answer = run(as_worker(url), *arguments, bounds=bounds)
    assert answer.exit_code == code, (answer.output, answer.exception)
    return " ".join(unframed(answer.output).split())


def unframed(text: str) -> str:
    return re.sub(r"[\u2500-\u257f]", " ", text)


async def fail(app, count: int, error: str = "REJECTED: no", crm: str = "brevo") -> None:
    """Failed contacts, also as other programs may leave them: without any time."""
    await app.execute(FAILED.format(crm=crm), count, error)


# Counts first.


async def test_a_preview_counts_by_crm_and_code_and_changes_nothing(app, url):
    await fail(app, 1_204, "REJECTED: HubSpot refused the contact", "hubspot")
    await fail(app, 3, "TIMEOUT: no answer", "hubspot")
    await fail(app, 2, "TIMEOUT: slow", "brevo")
    await fails(app, error="TIMEOUT: waits", sync="Queued", brevo_due_at=await app.fetchval("SELECT now() + interval '1 hour'"))
    everything = "SELECT * FROM contacts ORDER BY id"
    before = await app.fetch(everything)
    text = run(as_worker(url), "--preview").output
    table = [cells for line in unframed(text).splitlines() if (cells := line.split())]
    assert table[:4] == [
        ["CRM", "code", "contacts", "in", "Error", "waiting"],
        ["hubspot", "REJECTED", "1,204", "1,204", "0"],
        ["hubspot", "TIMEOUT", "3", "3", "0"],
        ["brevo", "TIMEOUT", "3", "2", "1"],
    ]
    assert ["hubspot", "REJECTED:", "HubSpot", "refused", "the", "contact"] in table
    assert "nothing was flipped" in text
    assert "Without --preview 1,210 contacts would go out" in text
    assert await app.fetch(everything) == before


async def test_the_counts_are_said_before_the_first_flip(app, url):
    await fail(app, 1)
    await app.execute(TRIGGER.format(body="PERFORM pg_sleep(600); RETURN NEW;", when="TRUE"))
    async with process(environment(url), "retry", "--yes") as command:
        lines = [unframed((await command.stdout.readline()).decode()).split() for _ in range(4)]
        assert lines == [[], ["CRM", "code", "contacts", "in", "Error", "waiting"], [], ["brevo", "REJECTED", "1", "1", "0"]]


async def test_no_line_is_longer_than_the_terminal(app, url):
    await fail(app, 12, f"REJECTED: {'HubSpot refused it for a reason of many words, ' * 9}", "hubspot")
    await fail(app, 12, "FIELD_NOT_SENT: SMS", "brevo")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Complete' WHERE brevo_processing_error IS NOT NULL")
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'the key is being rotated by the night shift'")
    for arguments in (["--since", "2h"], ["--code", "RATE_LIMITED,CANNOT_DELETE,NO_CODE"], ["--preview"], []):
        text = run(as_worker(url), *arguments).output
        assert max(map(len, text.splitlines())) <= 80, text


async def test_a_sample_of_another_programs_texts_shows_no_address(app, url):
    await fail(app, 1, "CONFLICT: ada@example.com exists\x1b[31m")
    text = said(url, "--preview")
    assert "*** exists" in text
    assert "ada" not in text
    assert "\x1b" not in text


async def test_a_table_with_a_code_for_each_row_fills_no_screen(app, url):
    await app.execute(
        "INSERT INTO contacts (email, brevo_sync_status, brevo_processing_error) "
        "SELECT 'x', 'Error', 'CODE_' || n || ': no' FROM generate_series(1, 500) AS n"
    )
    text = run(as_worker(url), "--preview").output
    assert len(text.splitlines()) < 50
    assert re.search(r"brevo +480 more codes +480", unframed(text))
    assert "500 contacts would go out" in text


async def test_nothing_failed_is_said_and_is_no_failure(url):
    assert said(url) == "Nothing to flip at hubspot, brevo, mautic, n8n."


# Then the flips.


async def test_what_has_failed_is_flipped_and_delivered_by_a_running_worker(app, url):
    crm = ScriptedCrm()
    crm.answer = lambda contact: Outcome.rejected("REJECTED", "no") if len(crm.requests) <= 20 else Outcome.delivered("7")
    async with running(url, crm):
        await app.execute(
            "INSERT INTO contacts (email, brevo_sync_status) "
            "SELECT n || '@example.com', 'Queued' FROM generate_series(1, 20) AS n"
        )
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
        await until_asleep(app)
        text = said(url, "--crm", "brevo", "--code", "REJECTED", "--since", "2h")
        assert "brevo: flipped 20 contacts." in text
        assert "crm-sync status --watch" in text
        await until(app, "bool_and(brevo_sync_status = 'Complete' AND brevo_processing_error IS NULL) FROM contacts")
    assert len(crm.requests) == 40


async def test_what_waits_for_a_retry_goes_now(app, url):
    crm = ScriptedCrm()
    crm.answer = lambda contact: Outcome.failed("LOCKED", "busy") if len(crm.requests) == 1 else Outcome.delivered("7")
    async with running(url, crm):
        await insert(app, "Queued")
        await until(app, "brevo_processing_error = 'LOCKED: busy' AND brevo_due_at > now() FROM contacts")
        assert "brevo: flipped 1 contact." in said(url, "--code", "LOCKED")
        await until(app, "brevo_sync_status = 'Complete' FROM contacts")


async def test_what_is_refused_again_at_once_is_flipped_once_and_the_command_ends(app, url):
    bounds = Bounds(batch=5, keys=10)
    crm = ScriptedCrm()
    crm.answer = lambda contact: Outcome.rejected("REJECTED", "no")
    await fail(app, 100)
    async with running(url, crm):
        assert "brevo: flipped 100 contacts." in await asyncio.to_thread(said, url, bounds=bounds)
        await crm.reached(100)
        await until(app, "bool_and(brevo_sync_status = 'Error') FROM contacts")
    assert len(crm.requests) == 100


async def test_each_crm_and_each_code_can_be_meant_alone(app, url):
    for crm in ("hubspot", "brevo", "mautic"):
        for code in ("REJECTED", "TIMEOUT", "LOCKED"):
            await fail(app, 1, f"{code}: x", crm)
    left = "SELECT string_agg(coalesce({crm}_processing_error, ''), '' ORDER BY {crm}_processing_error) FROM contacts"

    async def errors(crm: str) -> str:
        return await app.fetchval(left.format(crm=crm))

    said(url, "--crm", "Brevo", "--code", "timeout")
    assert [await errors("hubspot"), await errors("brevo")] == ["LOCKED: xREJECTED: xTIMEOUT: x", "LOCKED: xREJECTED: x"]
    said(url, "--crm", "hubspot, brevo", "--code", "REJECTED,TIMEOUT", "--code", "DUPLICATE")
    assert [await errors("hubspot"), await errors("brevo")] == ["LOCKED: x", "LOCKED: x"]
    assert await errors("mautic") == "LOCKED: xREJECTED: xTIMEOUT: x"
    text = said(url)
    assert re.search(r"hubspot: flipped 1 contact\. brevo: flipped 1 contact\. mautic: flipped 3 contacts\.", text)
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE hubspot_sync_status = 'Queued'") == 3


@pytest.mark.parametrize(
    ("code", "words"),
    [("FIELD_NOT_SENT", "delivered without a field"), ("ALREADY_THERE", "that the CRM had already")],
)
async def test_a_complete_contact_with_a_code_goes_out_again_only_if_that_is_named(app, url, code, words):
    await fail(app, 1)
    await fails(app, error=f"{code}: SMS", sync="Complete")
    text = said(url)
    assert "brevo: flipped 1 contact." in text
    assert f"Not included: 1 contact of brevo {words}; --code {code} sends it again" in text
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Complete'") == 1
    text = said(url, "--code", code)
    assert f"contacts in Error waiting Complete brevo {code} 1 0 0 1" in text
    assert "brevo: flipped 1 contact." in text


async def test_reasons_without_a_code_have_a_name_and_contacts_without_a_reason_too(app, url):
    await fail(app, 2, "Something went wrong")
    await fail(app, 3, None)
    await fail(app, 4)
    text = said(url, "--code", "no_code")
    assert "brevo NO_CODE 3 3 0 brevo NO_CODE 2 2 0" in text
    assert "brevo NO_CODE: (no reason is given) brevo NO_CODE: Something went wrong" in text
    assert "brevo: flipped 5 contacts." in text
    assert await app.fetchval(f"SELECT {QUEUED}") == 5


# Which codes there are.


async def test_a_code_that_only_holds_up_the_lane_is_an_honest_question(app, url):
    await fail(app, 1)
    text = said(url, "--crm", "brevo", "--code", "RATE_LIMITED", "--since", "2h")
    assert "RATE_LIMITED (too many requests): no contact can have it. It stops the whole CRM" in text
    assert "are sent by themselves" in text
    assert await app.fetchval(f"SELECT {QUEUED}") == 0


async def test_a_code_that_rows_have_is_taken_whoever_wrote_it(app, url):
    await fail(app, 2, "RATE_LIMITED: written by another program", "hubspot")
    await fail(app, 3, "LEGACY-7: written by another program", "hubspot")
    assert "hubspot: flipped 2 contacts." in said(url, "--crm", "hubspot", "--code", "RATE_LIMITED")
    assert "hubspot: flipped 3 contacts." in said(url, "--code", "legacy_7")


async def test_an_unknown_code_is_wrong_input_and_the_known_ones_are_named_the_nearest_first(app, url):
    await fail(app, 1, "LEGACY: x")
    text = said(url, "--code", "RATELIMITED", code=2)
    assert "RATELIMITED is not a code of crm-sync, and no contact has it; similar: RATE_LIMITED. Known: RATE_LIMITED, " in text
    assert "LEGACY" in text
    assert await app.fetchval(f"SELECT {QUEUED}") == 0


@pytest.mark.parametrize("code", ["TIMEOUT", "CANNOT_DELETE", "NO_CODE"])
async def test_a_code_that_no_contact_has_is_said_to_be_one(url, code):
    assert said(url, "--code", code).startswith(f"{code}: ")


async def test_a_code_that_only_withdrawn_contacts_have_is_told_so(app, url):
    await fails(app, sync="Skipped")
    assert "REJECTED: no contact of brevo to flip. Those that have it are withdrawn" in said(
        url, "--crm", "brevo", "--code", "REJECTED"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--crm", "pipedrive"), "pipedrive is not installed on the contacts table; these are: hubspot, brevo, mautic, n8n"),
        (("--crm", "Brveo"), "there is no CRM brveo; did you mean brevo?"),
        (("--crm", ""), "name a CRM"),
        (("--code", " , "), "name a code"),
        (("--since", "2"), "expected a number and a unit: 90s, 30m, 2h or 3d"),
        (("--since", "yesterday"), "expected a number and a unit: 90s, 30m, 2h or 3d"),
    ],
)
async def test_what_cannot_be_meant_is_wrong_input_that_says_what_can(app, url, arguments, expected):
    await fail(app, 1)
    assert expected in said(url, *arguments, code=2)
    assert await app.fetchval(f"SELECT {QUEUED}") == 0


# Since when.


async def test_since_takes_what_may_have_failed_then_and_says_of_how_many_that_is_not_known(app, url):
    now = await app.fetchval("SELECT clock_timestamp()")
    hour_ago = await app.fetchval("SELECT $1::timestamptz - interval '1 hour'", now)
    await fails(app, last_failed_crm="brevo", last_retry_at=now)
    await fails(app, last_failed_crm="mautic", last_retry_at=now)
    await fails(app, last_failed_crm="brevo", last_retry_at=hour_ago)
    await fail(app, 3)
    text = said(url, "--since", "30m")
    assert "Failed within 30m, so since " in text
    assert "1 of them may have failed earlier than 30m ago" in text
    assert "Left out: 3 contacts, because it is not known when they failed" in text
    assert "brevo: flipped 2 contacts." in text
    assert await app.fetchval("SELECT array_agg(last_retry_at) FROM contacts WHERE brevo_sync_status = 'Error'") == [
        hour_ago, None, None, None
    ]  # fmt: skip


# Without getting in the way.


async def test_flips_are_short_transactions(app, url):
    bounds = Bounds(longest_s=60.0)  # this machine may be busy
    await fail(app, 2_500)
    said(url, bounds=bounds)
    assert await app.fetchval(f"SELECT {QUEUED}") == 2_500
    sizes = await app.fetch("SELECT count(*) FROM contacts GROUP BY xmin::text ORDER BY 1")
    assert [row[0] for row in sizes] == [100, 200, 400, 800, 1_000]


async def test_where_a_trigger_of_the_owner_is_slow_transactions_become_smaller(app, url):
    bounds = Bounds(longest_s=0.02, batch=40)
    await app.execute(TRIGGER.format(body="PERFORM pg_sleep(0.002); RETURN NEW;", when="TRUE"))
    await fail(app, 100)
    said(url, bounds=bounds)
    # Forty take 80 ms, twenty 40.
    sizes = [
        row[0] for row in await app.fetch("SELECT count(*) FROM contacts GROUP BY xmin::text ORDER BY min(xmin::text::bigint)")
    ]
    assert sizes[:3] == [40, 20, 10]
    assert sum(sizes) == 100


async def test_a_contact_that_the_application_has_locked_is_waited_for_by_no_lock_and_told_of(app, other_app, url):
    bounds = Bounds(pause_s=0.01, keys=500)  # so that it could be found and counted repeatedly
    await fail(app, 2_000)
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts WHERE email = '1@example.com' FOR UPDATE")
        text = said(url, bounds=bounds, code=1)
    assert "brevo: flipped 1,999 contacts." in text
    assert "1 locked by another transaction throughout: run the same command again to flip it." in text
    assert "brevo: flipped 1 contact." in said(url, bounds=bounds)


async def test_a_contact_whose_lock_ends_meanwhile_is_flipped_at_the_end(app, other_app, url):
    bounds = Bounds(rounds=1_000, pause_s=0.01)
    await fail(app, 10)
    transaction = other_app.transaction()
    await transaction.start()
    await other_app.execute("SELECT FROM contacts WHERE email = '7@example.com' FOR UPDATE")
    command = asyncio.create_task(asyncio.to_thread(said, url, bounds=bounds))
    await until(app, "count(*) = 9 FROM (SELECT FROM contacts WHERE brevo_sync_status = 'Queued') AS flipped")
    await transaction.commit()
    assert "brevo: flipped 10 contacts." in await command


async def test_a_contact_that_was_withdrawn_while_it_was_locked_is_left_as_it_is(app, other_app, url):
    bounds = Bounds(rounds=1_000, pause_s=0.01)
    await fail(app, 10)
    transaction = other_app.transaction()
    await transaction.start()
    await other_app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE email = '7@example.com'")
    command = asyncio.create_task(asyncio.to_thread(said, url, bounds=bounds))
    await until(app, "count(*) = 9 FROM (SELECT FROM contacts WHERE brevo_sync_status = 'Queued') AS flipped")
    await transaction.commit()
    text = await command
    assert "brevo: flipped 9 contacts." in text
    assert "1 changed since the count (flipped, claimed or withdrawn): left as it is." in text
    assert await app.fetchval("SELECT brevo_sync_status FROM contacts WHERE email = '7@example.com'") == "Skipped"


async def test_a_trigger_of_the_owner_that_waits_for_the_application_is_not_waited_for(app, other_app, url):
    """Otherwise there could be a deadlock with the rows already flipped."""
    bounds = Bounds(pause_s=0.01)
    await app.execute("CREATE TABLE companies AS SELECT 1 AS id")
    # Postgres runs it with the rights of the role that flips.
    await app.execute("GRANT ALL ON companies TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC")
    await app.execute(TRIGGER.format(body="UPDATE companies SET id = 1; RETURN NEW;", when="TRUE"))
    await fail(app, 3)
    async with other_app.transaction():
        await other_app.execute("SELECT FROM companies FOR UPDATE")
        assert "3 locked by another transaction" in said(url, bounds=bounds, code=1)
    assert "brevo: flipped 3 contacts." in said(url, bounds=bounds)


# What the table refuses.


async def test_a_row_that_the_table_refuses_holds_up_no_other_and_is_told_of_by_its_key(app, url):
    await fail(app, 1_500)
    await app.execute(
        TRIGGER.format(
            body="RAISE EXCEPTION '% must stay', OLD.email;", when="OLD.email IN ('7@example.com', '1200@example.com')"
        )
    )
    text = said(url, code=1)
    assert "brevo: flipped 1,498 contacts." in text
    assert "2 refused by the contacts table itself, key " in text
    assert "a function or trigger refused it" in text
    assert "must stay" not in text
    refused = await app.fetch("SELECT id FROM contacts WHERE brevo_sync_status = 'Error'")
    assert len(refused) == 2
    assert all(str(row[0]) in text for row in refused)


@pytest.mark.parametrize("undoes", ["RETURN NULL;", "NEW.brevo_sync_status := OLD.brevo_sync_status; RETURN NEW;"])
async def test_a_trigger_that_undoes_the_flip_is_not_said_to_be_a_lock(app, url, undoes):
    await fail(app, 3)
    await app.execute(TRIGGER.format(body=undoes, when="OLD.email = '2@example.com'"))
    text = said(url, code=1)
    assert "brevo: flipped 2 contacts." in text
    assert "one of its triggers undoes the flip" in text


@slow
async def test_a_table_that_refuses_everything_is_not_tried_row_by_row_for_hours(app, url):
    bounds = Bounds(refused=50)
    await fail(app, 1_000)
    await app.execute(TRIGGER.format(body="RAISE EXCEPTION 'closed for maintenance';", when="TRUE"))
    async with process(environment(url), "retry", "--yes") as command:
        code, _, err = await ended(command)
    assert (code, "Traceback" in err) == (1, False)
    assert await app.fetchval(f"SELECT {QUEUED}") == 0
    answer = run(as_worker(url), bounds=bounds)
    assert "refuses one contact after the other" in str(answer.exception)


# Interrupted.


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_whatever_interrupts_it_nothing_is_lost_and_the_same_again_goes_on(app, url, blow):
    await fail(app, 3_000)
    # Whichever contact is the two thousandth: it is in about the fifth transaction.
    await app.execute("CREATE SEQUENCE flips; GRANT ALL ON SEQUENCE flips TO PUBLIC")
    await app.execute(
        TRIGGER.format(body="IF nextval('flips') = 2000 THEN PERFORM pg_sleep(600); END IF; RETURN NEW;", when="TRUE")
    )
    sleeping = "pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    async with process(environment(url), "retry", "--yes") as command:
        await until(app, f"count({sleeping.replace(' FROM', ') FROM', 1)}")
        command.send_signal(blow)
        code, _, err = await ended(command)
    assert code == (130 if blow is signal.SIGINT else -blow)
    await app.execute(f"SELECT pg_terminate_backend(pid) FROM (SELECT {sleeping}) AS s")
    await until(app, f"NOT EXISTS (SELECT {sleeping})")
    flipped = await app.fetchval(f"SELECT {QUEUED}")
    assert 1_000 <= flipped < 2_000
    if blow is signal.SIGINT:
        assert f"Interrupted: {flipped:,} contacts flipped so far. The same command continues." in err
        assert "Traceback" not in err
    assert f"brevo: flipped {3_000 - flipped:,} contacts." in said(url)
    assert await app.fetchval(f"SELECT {QUEUED}") == 3_000


async def test_a_flip_is_on_disk_before_it_is_said_to_be_one(app, url):
    await app.execute(
        "CREATE TABLE commits (setting text); GRANT ALL ON commits TO PUBLIC; "
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "INSERT INTO commits VALUES (current_setting('synchronous_commit')); RETURN NULL; END$$; "
        # Deferred: it runs at the commit, with the settings of the commit.
        "CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON contacts DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION note()"
    )
    await fail(app, 1)
    said(url)
    assert [row[0] for row in await app.fetch("SELECT setting FROM commits")] == ["on"]


# Rights, and other tables.


async def test_the_rights_of_a_worker_are_enough(app, url):
    await fail(app, 3)
    answer = run(as_worker(url))
    assert answer.exit_code == 0, (answer.output, answer.exception)
    assert "brevo: flipped 3 contacts." in answer.output
    assert await app.fetchval(f"SELECT {QUEUED}") == 3


async def test_rights_that_are_missing_are_told_plainly_before_anything_is_flipped(app, url):
    await fail(app, 3, crm="hubspot")
    await fail(app, 3)
    its_url = granted(url, RETRYING)
    await app.execute(f"REVOKE UPDATE (brevo_sync_status) ON contacts FROM {RETRYING}")
    answer = run(its_url)
    assert f"crm-sync grants {RETRYING}" in str(answer.exception)
    assert f"the role {RETRYING} of DATABASE_URL may not flip" in str(answer.exception)
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE hubspot_sync_status = 'Queued'") == 0
    assert run(its_url, "--preview").exit_code == 0


async def test_an_application_is_told_whose_rights_it_needs(url):
    its_url = granted(url, RETRYING, "--application")
    assert f"crm-sync grants {RETRYING}" in str(run(its_url).exception)


async def test_a_role_without_any_right_is_told_in_one_sentence(url):
    async with process(environment(nobody(url, RETRYING)), "retry", "--yes") as command:
        code, _, err = await ended(command)
    assert code == 78
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


async def test_a_table_in_a_schema_of_its_own_and_a_key_of_another_name(app, url):
    await fail(app, 3)
    await app.execute('ALTER TABLE contacts RENAME COLUMN id TO "Contact No"')
    await app.execute('CREATE SCHEMA "The App"; ALTER TABLE contacts SET SCHEMA "The App"')
    await asyncio.to_thread(adopt, url)  # the key has another name now
    answer = run(url)
    assert "brevo: flipped 3 contacts." in answer.output, answer.exception


async def test_a_trigger_that_is_disabled_would_see_no_flip_and_is_told(app, url):
    await fail(app, 1)
    await app.execute("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update")
    assert "ALTER TABLE public.contacts ENABLE TRIGGER crm_sync_brevo_update" in str(run(as_worker(url)).exception)


async def test_a_database_without_crm_sync_is_told_what_to_do(empty_url):
    assert "run `crm-sync migrate`" in str(run(empty_url).exception)


async def test_where_a_crm_is_not_called_now_it_says_that_they_wait(app, url):
    await fail(app, 1)
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'key rotation' WHERE crm = 'brevo'")
    text = said(url)
    assert "brevo is not called now, so they wait in line: paused by hand since" in text
    assert "key rotation" in text


# It asks first.


async def test_where_there_is_no_terminal_to_ask_on_it_flips_nothing_and_says_how_to(app, url):
    await fail(app, 3)
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": as_worker(url), "COLUMNS": "80"}
        answer = thread.submit(click.testing.CliRunner().invoke, crm_sync, ["retry"], env=env).result()
    assert answer.exit_code == 2
    assert (
        "Nothing was flipped: there is no terminal to ask on. To flip 3 contacts, run the same command with --yes."
        in answer.output
    )
    assert await app.fetchval(f"SELECT {QUEUED}") == 0


@pytest.mark.parametrize(("word", "flipped"), [("y", 3), ("n", 0), ("", 0)])
async def test_it_flips_upon_a_yes_only(app, url, word, flipped):
    await fail(app, 3)
    ours, its = os.openpty()
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crm_sync", "retry", env=os.environ | environment(as_worker(url)), stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    said = b""
    while b"Flip 3 contacts? [y/N]" not in said:
        said += await asyncio.to_thread(os.read, ours, 4096)
    os.write(ours, f"{word}\n".encode())
    assert await asyncio.wait_for(command.wait(), TIMEOUT_S) == (0 if flipped else 1)
    os.close(ours)
    assert await app.fetchval(f"SELECT {QUEUED}") == flipped


# By key.


async def test_only_the_contacts_with_the_keys_that_are_named_go_out(app, url):
    await fail(app, 5)
    keys = [row["id"] for row in await app.fetch("SELECT id FROM contacts ORDER BY id LIMIT 2")]
    text = said(url, "--key", str(keys[0]), "--key", str(keys[1]).upper())
    assert "brevo: flipped 2 contacts." in text
    assert {row["id"] for row in await app.fetch("SELECT id FROM contacts WHERE brevo_sync_status = 'Queued'")} == set(keys)


async def test_a_key_of_which_nothing_failed_flips_nothing(app, url):
    await fail(app, 2)
    other = await insert(app, "Complete")
    assert "Nothing to flip" in said(url, "--key", str(other))


async def test_a_text_that_is_no_key_is_told_with_the_type_of_the_keys(app, url):
    await fail(app, 1)
    answer = run(as_worker(url), "--key", "seven")
    assert "the key seven is not valid: the table's key is of type uuid" in str(answer.exception)
    assert await app.fetchval(f"SELECT {QUEUED}") == 0
