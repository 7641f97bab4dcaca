"""Which contacts have failed: `crm-sync failed`, a page at a time."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click.testing
import pytest

from crm_sync.cli import crm_sync
from tests.commands.test_retry import fail
from tests.roles import as_worker, migrate
from tests.steps import insert
from tests.table.test_failed_contacts import fails


def run(url: str, *arguments: str, code: int = 0) -> str:
    """In a thread, because a command runs its own event loop."""
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": as_worker(url), "COLUMNS": "80", "TZ": "UTC"}
        answer = thread.submit(click.testing.CliRunner().invoke, crm_sync, ["failed", *arguments], env=env).result()
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer.output


def listed(url: str, *arguments: str) -> dict[str, Any]:
    return json.loads(run(url, "--json", *arguments))


async def test_a_contact_is_listed_with_state_time_attempts_and_reason(app, url):
    now = await app.fetchval("SELECT now()")
    of_brevo = {"last_failed_crm": "brevo", "last_retry_at": now}
    key = await fails(app, error="DUPLICATE: another contact has the same email", brevo_attempts=3, **of_brevo)
    text = run(url)
    first, second = text.splitlines()
    assert first.startswith(f"brevo  contact {key}  in Error, since ")
    assert first.endswith(", 3 attempts")
    assert second == "  DUPLICATE: another contact has the same email"
    entry = listed(url)["failed"][0]
    assert (entry["crm"], entry["key"], entry["state"], entry["code"]) == ("brevo", str(key), "in Error", "DUPLICATE")
    assert entry["reason"] == "another contact has the same email"
    assert entry["failed_at"] is not None


async def test_one_that_waits_for_a_retry_says_when(app, url):
    await fails(app, error="TIMEOUT: slow", sync="Queued", brevo_due_at=await app.fetchval("SELECT now() + interval '1 hour'"))
    assert "waiting" in (text := run(url))
    assert "tried again in 1 h" in text or "tried again in 60 min" in text


async def test_pages_follow_each_other_over_the_crms_without_a_gap_or_a_repeat(app, url):
    await fail(app, 7, crm="hubspot")
    await fail(app, 5, crm="n8n")
    seen, after = [], []
    for _ in range(10):
        page = listed(url, "--limit", "3", *after)
        assert len(page["failed"]) <= 3
        seen += [(entry["crm"], entry["key"]) for entry in page["failed"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    rows = await app.fetch("SELECT id, hubspot_sync_status = 'Error' AS at_hubspot FROM contacts ORDER BY id")
    expected = [("hubspot", str(row["id"])) for row in rows if row["at_hubspot"]]
    expected += [("n8n", str(row["id"])) for row in rows if not row["at_hubspot"]]
    assert seen == expected


async def test_a_page_that_is_full_to_the_last_contact_has_no_next(app, url):
    await fail(app, 3)
    assert listed(url, "--limit", "3")["next"] is None
    text = run(url, "--limit", "2")
    assert "For the next page, add --after brevo:" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {"REJECTED", "TIMEOUT"}),
        (["--code", "timeout"], {"TIMEOUT"}),
        (["--crm", "hubspot"], set()),
        (["--code", "FIELD_NOT_SENT"], {"FIELD_NOT_SENT"}),
        (["--code", "ALREADY_THERE"], {"ALREADY_THERE"}),
        (["--code", "legacy-7"], {"legacy_7"}),
    ],
)
async def test_what_is_asked_for_is_listed_and_nothing_else(app, url, arguments, found):
    await fails(app, error="REJECTED: no")
    await fails(app, error="TIMEOUT: slow")
    await fails(app, error="FIELD_NOT_SENT: SMS", sync="Complete")
    await fails(app, error="ALREADY_THERE: brevo", sync="Complete")
    await fails(app, error="REJECTED: withdrawn", sync="Skipped")
    if "legacy-7" in arguments:
        await fails(app, error="legacy_7: old")
    assert {entry["code"] for entry in listed(url, *arguments)["failed"]} == found


async def test_since_means_the_same_as_for_a_retry(app, url):
    hours = [await app.fetchval("SELECT now() - make_interval(hours => $1)", ago) for ago in (3, 1)]
    _, recent = [await fails(app, last_failed_crm="brevo", last_retry_at=at) for at in hours]
    assert [entry["key"] for entry in listed(url, "--since", "2h")["failed"]] == [str(recent)]


async def test_no_address_and_nothing_that_a_terminal_obeys_is_shown(app, url):
    await fail(app, 1, "CONFLICT: ada@example.com exists\x1b[31m")
    for text in (run(url), run(url, "--json")):
        assert "ada" not in text
        assert "\x1b" not in text


async def test_nothing_failed_is_said(app, url):
    await insert(app, "Complete")
    assert run(url) == "No failed contacts.\n"


# By key.


async def test_only_the_contacts_with_the_keys_that_are_named_are_listed(app, url):
    one, two, _ = [str(await fails(app, error=f"REJECTED: {number}")) for number in range(3)]
    assert {entry["key"] for entry in listed(url, "--key", one, "--key", two.upper())["failed"]} == {one, two}
    assert listed(url, "--key", str(await insert(app, "Complete")))["failed"] == []
    assert "--key: it is empty" in run(url, "--key", " ", code=2)


KEYS = {
    "text": ("", "-1", "--yes", "a:b", "(1,2)", "o'hara", "x\ny", "😀"),
    "bytea": ("\\x", "\\x00", "\\xff27"),
    "inet": ("10.0.0.1/24", "10.0.0.1/32"),
    "interval": ("P1DT2H3M", "PT-1S"),
    "double precision": ("-1.5", "NaN"),
    "bit varying": ("101",),
}


@pytest.mark.parametrize(("kind", "keys"), KEYS.items(), ids=KEYS)
async def test_a_key_of_any_type_is_listed_as_the_database_writes_it_and_can_be_named_so(owner, empty_url, kind, keys):
    await owner.execute(f"CREATE TABLE contacts (id {kind} PRIMARY KEY, email text)")
    await asyncio.to_thread(migrate, empty_url)
    for key in keys:
        await owner.execute(
            f"INSERT INTO contacts (id, email, brevo_sync_status, brevo_processing_error) "
            f"VALUES ($1::text::{kind}, 'ada@example.com', 'Error', 'REJECTED: no')",
            key,
        )
    seen, after = [], []
    for _ in keys:
        page = listed(empty_url, "--limit", "1", *after)
        [entry] = page["failed"]
        seen.append(entry["key"])
        if entry["key"]:
            assert [one["key"] for one in listed(empty_url, "--key", entry["key"])["failed"]] == [entry["key"]]
        after = ["--after", page["next"]]
    assert sorted(seen) == sorted(keys)
    assert page["next"] is None


@pytest.mark.parametrize("after", ["brevo", "pipedrive:1"])
async def test_a_wrong_place_to_go_on_from_is_refused(url, after):
    assert "expected CRM:KEY" in run(url, "--after", after, code=2)
