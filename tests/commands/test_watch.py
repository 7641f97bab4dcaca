"""`crm-sync watch` and `unwatch`, and what a running worker delivers because of them."""

import asyncio

import pytest

from crm_sync.core.waits import Waits
from tests.commands.test_pause import done, run
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.process import ended, environment, process
from tests.roles import WORKER
from tests.steps import insert, pair
from tests.tiers import alone

CHANGE = "UPDATE contacts SET first_name = $1"


async def watched(app, crm="brevo"):
    """The columns, according to the server."""
    return await app.fetchval(
        "SELECT substring(pg_get_triggerdef(oid) FROM 'UPDATE OF (.*) ON') FROM pg_trigger "
        "WHERE tgname = format('crm_sync_%s_watch', $1::text)",
        crm,
    )


# What a worker delivers.


async def test_a_change_wakes_a_sleeping_worker_and_is_delivered(app, url):
    crm = ScriptedCrm()
    done(url, "watch", "brevo", "--columns", "email,first_name")
    async with running(url, crm):
        contact = await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        for name in ("Eve", "Bob"):
            await until_asleep(app)
            await app.execute(CHANGE, name)
            await until(app, ALL_COMPLETE)
            assert crm.store[contact]["FIRSTNAME"] == name
    assert len(crm.requests) == 3


async def test_a_hundred_changes_in_flight_are_one_delivery_after_it(app, url):
    crm = ScriptedCrm()
    done(url, "watch", "brevo", "--columns", "first_name")
    async with running(url, crm):
        crm.gate.clear()
        contact = await insert(app, "Queued")
        await crm.reached(1)
        for number in range(100):
            await app.execute(CHANGE, f"Ada {number}")
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert [[sent.fields["FIRSTNAME"] for sent in request] for request in crm.requests] == [["Ada"], ["Ada 99"]]
    assert crm.store[contact]["FIRSTNAME"] == "Ada 99"
    assert crm.twice_in_flight == []


async def test_changes_of_several_applications_at_once_end_in_the_crm_as_they_end_in_the_table(app, other_app, url):
    crm = ScriptedCrm()
    done(url, "watch", "brevo", "--columns", "first_name")
    contacts = [await insert(app, "Queued", f"{number}@example.com") for number in range(10)]

    async def edit(connection, name):
        for number in range(20):
            for contact in contacts:
                await connection.execute(f"{CHANGE} WHERE id = $2", f"{name} {number}", contact)

    async with running(url, crm):
        await asyncio.gather(edit(app, "Eve"), edit(other_app, "Bob"))
        await until(app, ALL_COMPLETE)
    in_the_table = dict(await app.fetch("SELECT id, first_name FROM contacts"))
    assert {contact: crm.store[contact]["FIRSTNAME"] for contact in contacts} == in_the_table
    assert crm.twice_in_flight == []


async def test_what_was_flipped_is_still_delivered_after_unwatch(app, url):
    crm = ScriptedCrm()
    done(url, "watch", "brevo", "--columns", "first_name")
    contact = await insert(app, "Complete")
    await app.execute(CHANGE, "Eve")
    done(url, "unwatch", "brevo")
    async with running(url, crm):
        await until(app, ALL_COMPLETE)
        await app.execute(CHANGE, "Bob")
        await until_asleep(app)
    assert crm.store[contact]["FIRSTNAME"] == "Eve"


# What a person is told.


async def test_watch_says_what_happens_now_and_how_to_end_it(app, url):
    said = done(url, "watch", "brevo", "--columns", "email,first_name,last_name,phone")
    assert said.startswith("brevo watches email, first_name, last_name, phone.\n")
    assert "What changed before now is not sent" in said
    assert said.endswith("To end it: crm-sync unwatch brevo\n")
    assert await watched(app) == "email, first_name, last_name, phone"


async def test_watching_again_says_what_was_watched_before(app, url):
    done(url, "watch", "brevo", "--columns", "email,phone")
    assert "brevo watches city. Before, it watched email, phone.\n" in done(url, "watch", "brevo", "--columns", "city")
    assert await watched(app) == "city"


async def test_unwatch_says_what_was_watched_and_how_to_watch_it_again(app, url):
    done(url, "watch", "brevo", "--columns", "email,phone")
    said = done(url, "unwatch", "brevo")
    assert "brevo no longer watches email, phone" in said
    assert "crm-sync watch brevo --columns email,phone" in said
    assert await watched(app) is None
    assert done(url, "unwatch", "brevo") == "brevo watches no column: nothing to do.\n"


async def test_where_the_watch_and_the_mapping_differ_is_a_note(app, url, tmp_path, monkeypatch):
    said = done(url, "watch", "brevo", "--columns", "email,created_at,state")
    assert "Note: the built-in mapping does not read created_at, state: a change there sends what was sent before." in said
    assert "Note: the built-in mapping also reads first_name, last_name, " in said

    mapping = tmp_path / "mapping.toml"
    mapping.write_text("[brevo]\nFIRSTNAME = \"split_part(first_name || last_name, ' ', 1)\"\n[hubspot]\ncity = 'city'\n")
    monkeypatch.setenv("MAPPING_FILE", str(mapping))
    assert "Note: MAPPING_FILE also reads last_name: a change" in done(url, "watch", "brevo", "--columns", "email,first_name")
    assert "Note:" not in done(url, "watch", "brevo", "--columns", "last_name,email,first_name")


async def test_names_may_stand_with_blanks_and_twice(app, url):
    done(url, "watch", " Brevo", "--columns", " email , city,email,")
    assert await watched(app) == "city, email"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("email,nmae", "contacts has no column nmae; those that can be watched are: id, email, first_name"),
        ("brevo_sync_status", "brevo_sync_status is a column of crm-sync itself"),
        (" , ", "name one column at least"),
    ],
)
async def test_a_column_that_cannot_be_watched_is_wrong_input_and_changes_nothing(app, url, columns, said):
    answer = run(url, "watch", "brevo", "--columns", columns)
    assert answer.exit_code == 2
    assert said in " ".join(answer.output.split())
    assert await watched(app) is None


@pytest.mark.parametrize("command", [("watch", "pipedrive", "--columns", "email"), ("unwatch", "pipedrive")])
async def test_a_crm_that_is_not_installed_is_wrong_input_and_those_that_are_get_named(url, command):
    answer = run(url, *command)
    assert answer.exit_code == 2
    assert "pipedrive is not installed" in answer.output
    assert "hubspot, brevo, mautic, n8n" in answer.output


async def test_check_tells_what_is_watched_and_a_watch_that_does_not_fire(app, url):
    async def check():
        async with process(environment(url), "check") as running:
            code, out, _ = await ended(running)
        return code, " ".join(out.split())

    assert "ok watched columns none: only contacts that you flip are sent" in (await check())[1]
    done(url, "watch", "brevo", "--columns", "phone,email")
    done(url, "watch", "hubspot", "--columns", "email")
    assert "ok watched columns hubspot: email; brevo: email, phone" in (await check())[1]
    await app.execute("ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_watch")
    code, out = await check()
    assert code == 1
    assert "the trigger crm_sync_brevo_watch is disabled, so changes of email, phone are not sent to brevo" in out


# Under load.


@alone
@pytest.mark.parametrize("command", [("watch", "brevo", "--columns", "city"), ("unwatch", "brevo")])
async def test_nobody_who_writes_waits_for_a_transaction_that_it_waits_for(app, other_app, url, command):
    done(url, "watch", "brevo", "--columns", "email")
    contact = await insert(other_app)
    async with process(environment(url, owner=True), *command) as running:
        async with app.transaction():
            await app.execute("INSERT INTO contacts (email) VALUES ('long@example.com')")
            async with asyncio.timeout(TIMEOUT_S):
                assert running.stderr is not None
                told = (await running.stderr.readline()).decode()
            for number in range(20):
                await other_app.execute(f"{CHANGE} WHERE id = $2", f"Ada {number}", contact)
        code, out, _ = await ended(running)
    assert f"client backend (pid {app.get_server_pid()}) for" in told
    assert code == 0, out
    assert await watched(app) == (None if command[0] == "unwatch" else "city")


IMPATIENT = Waits(table_patience_s=0.0)


async def test_a_table_that_is_never_free_is_given_up_with_who_holds_it_and_nothing_changed(app, url):
    async with app.transaction():
        await insert(app)
        answer = await asyncio.to_thread(run, url, "watch", "brevo", "--columns", "email", waits=IMPATIENT)
    assert "nothing was changed: the contacts table could not be locked" in str(answer.exception)
    assert f"(pid {app.get_server_pid()})" in str(answer.exception)
    assert await watched(app) is None


# Rights.


async def test_only_the_owner_may_watch_and_is_the_one_who_is_named(app, url):
    done(url, "watch", "brevo", "--columns", "email")
    for command in (("watch", "brevo", "--columns", "city"), ("unwatch", "brevo")):
        async with process(environment(url), *command) as running:
            code, out, err = await ended(running)
        assert (code, out) == (78, "")
        assert f"the role {WORKER} of DATABASE_URL may not change what is watched" in err
        assert "Traceback" not in err
    assert await watched(app) == "email"


async def test_a_database_without_the_schema_is_told_what_to_do(empty_url):
    async with process(environment(empty_url, owner=True), "watch", "brevo", "--columns", "email") as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "run `crm-sync migrate`" in err


async def test_a_database_of_an_older_release_is_told_what_to_do(app, url):
    await app.execute("DROP FUNCTION crm_sync.watch(text, text[])")
    async with process(environment(url, owner=True), "watch", "brevo", "--columns", "email") as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "run `crm-sync migrate`" in err


async def test_a_mapping_that_is_wrong_is_not_taken_for_an_old_release(url, tmp_path, monkeypatch):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "no_such_function(first_name)"\n')
    monkeypatch.setenv("MAPPING_FILE", str(mapping))
    answer = await asyncio.to_thread(run, url, "watch", "brevo", "--columns", "email")
    assert "mapping of brevo.FIRSTNAME: function no_such_function(" in str(answer.exception)


async def test_a_contact_in_error_waits_for_a_person(app, url):
    """The change may not fix the problem; the person who does flips the contact."""
    done(url, "watch", "brevo", "--columns", "email")
    contact = await insert(app, "Error")
    await app.execute("UPDATE contacts SET email = 'right@example.com'")
    assert (await pair(app, contact))[0] == "Error"
