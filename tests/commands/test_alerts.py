"""Current problems, for people and scripts: `crm-sync alerts`; and whether they would be reported: `crm-sync alerts test`."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import click.testing
import pytest

from crm_sync.cli import crm_sync
from tests.roles import as_worker
from tests.telling.receiver import receiving

OPEN = (
    "INSERT INTO crm_sync.alerts "
    "(id, condition, crm, code, since, first_seen_at, seen_at, raised_at, contacts, reason, told, untold) "
    "VALUES (1, $1, 'brevo', $2, now() - interval '2 hours', now(), now(), now(), 10001, $3, '{command}', '{webhook}')"
)
OVER = (
    "INSERT INTO crm_sync.alerts "
    "(id, condition, crm, since, first_seen_at, seen_at, raised_at, well_since, ended_at, contacts, reason) "
    "SELECT 100 + $1, 'ERRORS', 'mautic', t - interval '5 hours', t, t, t, t - interval '1 hour', t, 21, '21 of 40' "
    "FROM (SELECT now() - make_interval(hours => $1) AS t) AS v"
)


async def run(url, *arguments, code=0, **settings):
    """In a thread, because a command runs its own event loop."""
    env = {"DATABASE_URL": as_worker(url), "COLUMNS": "100", "TZ": "UTC", **settings}
    with ThreadPoolExecutor(1) as thread:
        invoked = thread.submit(click.testing.CliRunner().invoke, crm_sync, ["alerts", *arguments], env=env)
        answer = await asyncio.wrap_future(invoked)
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer.output


async def test_where_nothing_is_wrong_it_says_so(url):
    assert await run(url) == "Nothing is wrong, and nothing was within 1d.\n"
    assert json.loads(await run(url, "--json")) == {"alerts": []}


async def test_it_says_what_is_wrong_since_when_how_many_what_to_do_and_who_was_told(app, url):
    await app.execute(OPEN, "NEW_CODE", "DUPLICATE", "DUPLICATE: another one")
    await app.execute(OVER, 2)
    await app.execute(OVER, 30)
    lines = (await run(url)).splitlines()
    assert lines[0].startswith("NEW_CODE brevo DUPLICATE  since ")
    assert lines[0].endswith(", for 2 h")
    text = " ".join(" ".join(lines).split())
    assert "10,001 failures with this code" in text
    assert "crm-sync failed --crm brevo --code DUPLICATE" in text
    assert "told command; still to tell: webhook" in text
    assert text.count("ERRORS mautic") == 1
    assert "over after 4 h" in text
    assert (await run(url, "--since", "3d")).count("ERRORS mautic") == 2


async def test_scripts_get_the_same(app, url):
    await app.execute(OPEN, "LANE_DOWN", "", "TIMEOUT: slow")
    [one] = json.loads(await run(url, "--json"))["alerts"]
    assert (one["alert"], one["crm"], one["count"], one["command"]) == ("LANE_DOWN", "brevo", 10001, "crm-sync status")
    assert (one["ended_at"], one["code"], one["told"], one["untold"]) == (None, None, ["command"], ["webhook"])


@pytest.mark.parametrize("since", ["yesterday", "0s"])
async def test_a_time_that_is_none_is_refused(url, since):
    assert "expected a number and a unit" in await run(url, "--since", since, code=2)


async def test_a_test_message_goes_to_each_channel(url, tmp_path):
    out = tmp_path / "said"
    script = tmp_path / "notify"
    script.write_text(f"#!/bin/sh\ncat > {out}\n")
    script.chmod(0o700)
    async with receiving() as receiver:
        settings = {
            "ALERT_WEBHOOK_URL": f"{receiver.url}/hook",
            "ALERT_PING_URL": f"{receiver.url}/ping",
            "ALERT_COMMAND": str(script),
        }
        assert await run(url, "test", **settings) == "webhook: told\ncommand: told\nping: told\n"
        assert [told.target for told in receiver.heard] == ["/hook", "/ping"]
        [body] = receiver.messages()
    assert body["event"] == "test"
    assert "Nothing is wrong" in body["text"]
    assert json.loads(out.read_text())["id"] == body["id"]


async def test_one_that_fails_is_named_and_the_others_are_told(url):
    async with receiving() as receiver:
        receiver.statuses = [404]
        settings = {"ALERT_WEBHOOK_URL": f"{receiver.url}/hook", "ALERT_PING_URL": f"{receiver.url}/ping"}
        assert await run(url, "test", code=1, **settings) == "webhook: it answered 404: so it is\nping: told\n"


async def test_without_a_channel_it_says_which_there_are(url):
    assert "ALERT_WEBHOOK_URL" in await run(url, "test", code=1)
