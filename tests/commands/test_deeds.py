"""Who did what: each command that changes something is an event, and one that changed nothing is not."""

import json
from concurrent.futures import ThreadPoolExecutor

import click.testing
import pytest

from crm_sync.cli import crm_sync
from tests.steps import insert
from tests.table.test_failed_contacts import fails

# As anyone who owns the table.
DEEDS = {
    ("pause", "brevo", "--reason", "key rotation"): ("lane_held", "brevo", {"reason": "key rotation"}),
    ("watch", "brevo", "--columns", "first_name"): ("columns_watched", "brevo", {"columns": ["first_name"]}),
    ("on-delete", "brevo", "delete"): ("on_delete_set", "brevo", {"policy": "delete", "before": "keep"}),
    ("retry", "--yes"): ("contacts_retried", "brevo", {"contacts": 1}),
}


def run(url, *arguments):
    """In a thread, because a command runs its own event loop."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(click.testing.CliRunner().invoke, crm_sync, arguments, env={"DATABASE_URL": url}).result()
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.output


async def events(app):
    rows = await app.fetch("SELECT event, crm, via, details FROM crm_sync.events ORDER BY at")
    assert {row["via"] for row in rows} <= {"command"}
    return [(row["event"], row["crm"], json.loads(row["details"])) for row in rows]


@pytest.mark.parametrize(("arguments", "event"), DEEDS.items(), ids=[arguments[0] for arguments in DEEDS])
async def test_a_command_that_does_something_is_an_event(app, url, arguments, event):
    await fails(app, error="TIMEOUT: slow", brevo_attempts=1)
    run(url, *arguments)
    assert await events(app) == [event]


NO_DEEDS = [("resume", "brevo"), ("unwatch", "brevo"), ("retry", "--yes"), ("on-delete", "brevo"), ("migrate",)]


@pytest.mark.parametrize("arguments", NO_DEEDS, ids=lambda arguments: arguments[0])
async def test_one_that_did_nothing_is_none(app, url, arguments):
    await insert(app)
    run(url, *arguments)
    assert await events(app) == []


async def test_what_ends_something_says_what_it_was(app, url):
    run(url, "pause", "brevo", "--reason", "key rotation")
    run(url, "watch", "brevo", "--columns", "first_name")
    run(url, "resume", "brevo")
    run(url, "unwatch", "brevo")
    assert (await events(app))[2:] == [
        ("lane_resumed", "brevo", {"was": "key rotation"}),
        ("columns_unwatched", "brevo", {"columns": ["first_name"]}),
    ]


async def test_a_retry_of_single_contacts_names_none_of_them(app, url):
    key = await fails(app, error="TIMEOUT: slow", brevo_attempts=1)
    run(url, "retry", "--key", str(key), "--code", "TIMEOUT", "--yes")
    assert await events(app) == [("contacts_retried", "brevo", {"contacts": 1, "codes": ["TIMEOUT"], "keys": 1})]


async def test_an_adoption_is_an_event(owner, empty_url):
    await owner.execute("CREATE TABLE people (id integer PRIMARY KEY, email text)")
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": empty_url, "CONTACTS_TABLE": "people"}
        thread.submit(click.testing.CliRunner().invoke, crm_sync, ["adopt"], env=env, catch_exceptions=False).result()
    [(event, crm, details)] = await events(owner)
    assert (event, crm) == ("table_adopted", None)
    assert details["changes"] > 10
    assert "people" in details["table"]


async def test_where_it_cannot_be_noted_down_the_command_does_what_it_is_for_and_says_so(app, url):
    await app.execute("DROP TABLE crm_sync.events")
    assert "does not record who did this" in run(url, "pause", "brevo", "--reason", "key rotation")
    assert await app.fetchval("SELECT held_reason FROM crm_sync.lanes WHERE crm = 'brevo'") == "key rotation"
