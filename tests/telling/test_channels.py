"""What channels get, and what happens if one fails: it does not affect the others."""

import asyncio
import hashlib
import hmac
import json
import os
import sys
from contextlib import asynccontextmanager

import pytest

from crm_sync.environment import Environment
from crm_sync.errors import ChannelError, ConfigurationError
from crm_sync.telling.channels import Channels, Command, require_channels
from tests.harness import TIMEOUT_S

BODY = {"id": "7-raised-1", "event": "raised", "alert": "LANE_DOWN", "text": "brevo is down <!channel> & more"}
SECRET = "a-secret-of-the-webhook"


@asynccontextmanager
async def opened(**settings):
    async with Channels.opened(Environment(settings)) as channels:
        yield channels


async def tell(**settings):
    async with opened(**settings) as channels:
        for channel in channels.told:
            await channel.tell(BODY)


async def test_a_webhook_gets_the_object_with_a_signature_of_its_very_bytes_as_n8n_does(receiver):
    await tell(alert_webhook_url=f"{receiver.url}/hook/k3y?v=1", alert_webhook_secret=SECRET)
    [told] = receiver.heard
    assert (told.method, told.target) == ("POST", "/hook/k3y?v=1")
    assert told.json == BODY
    assert told.headers["X-Crm-Sync-Signature"] == hmac.new(SECRET.encode(), told.body, hashlib.sha256).hexdigest()
    assert told.headers["Idempotency-Key"] == BODY["id"]
    assert told.headers["Content-Type"] == "application/json"


async def test_slack_gets_a_text_in_which_nothing_is_a_mention(receiver):
    await tell(alert_webhook_url=f"{receiver.url}/services/T/B/x", alert_webhook_format="slack")
    [told] = receiver.heard
    assert told.json == {"text": "brevo is down &lt;!channel&gt; &amp; more"}
    assert "X-Crm-Sync-Signature" not in told.headers


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_a_webhook_that_answers_anything_but_success_has_failed(receiver, status):
    receiver.statuses = [status]
    with pytest.raises(ChannelError, match=f"it answered {status}"):
        await tell(alert_webhook_url=f"{receiver.url}/hook")


async def test_no_error_names_its_address_which_is_a_secret():
    with pytest.raises(ChannelError) as caught:
        await tell(alert_webhook_url="http://127.0.0.1:9/services/a-secret-path")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "well", "failing"),
    [
        ("/ping/uuid", "/ping/uuid", "/ping/uuid/fail"),
        ("/ping/uuid/", "/ping/uuid/", "/ping/uuid/fail"),
        ("/push/token?status=up&msg=OK", "/push/token?status=up&msg=OK", "/push/token/fail?status=up&msg=OK"),
    ],
)
async def test_a_dead_mans_switch_is_pinged_and_with_fail_while_something_is_wrong(receiver, url, well, failing):
    async with opened(alert_ping_url=f"{receiver.url}{url}") as channels:
        await channels.ping.ping(well=True)
        await channels.ping.ping(well=False)
    assert [(told.method, told.target) for told in receiver.heard] == [("GET", well), ("GET", failing)]


def program(code):
    return [sys.executable, "-S", "-c", code]


async def test_a_command_gets_the_object_on_its_standard_input_and_none_of_our_keys(tmp_path, monkeypatch):
    for name in ("BREVO_API_KEY", "DATABASE_URL", "ALERT_WEBHOOK_SECRET", "CREDENTIALS_DIRECTORY", "PGPASSWORD"):
        monkeypatch.setenv(name, "a-key-of-ours")
    out = tmp_path / "said.json"
    code = f"import json, os, sys; json.dump([json.load(sys.stdin), dict(os.environ)], open({str(out)!r}, 'w'))"
    await Command(program(code)).tell(BODY)
    said, environment = json.loads(out.read_text())
    assert said == BODY
    assert "a-key-of-ours" not in environment.values()
    assert environment["PATH"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9"),
        ("import time; time.sleep(60)", "took longer than 0.3 s"),
        ("import os, time; os.fork(); time.sleep(60)", "took longer than 0.3 s"),
    ],
)
async def test_a_command_that_fails_or_takes_too_long_has_failed(code, reason):
    with pytest.raises(ChannelError, match=reason):
        await Command(program(code), patience_s=0.3).tell(BODY)


async def test_one_that_reads_nothing_and_ends_well_was_told():
    await Command(program("pass")).tell({**BODY, "text": "x" * 1_000_000})


async def test_what_it_leaves_to_be_done_when_it_ends_well_is_not_killed(tmp_path):
    out = tmp_path / "said"
    code = f"import os, time\nif os.fork() == 0:\n time.sleep(0.05)\n open({str(out)!r}, 'w').close()"
    await Command(program(code)).tell(BODY)
    async with asyncio.timeout(TIMEOUT_S):
        while not out.exists():  # noqa: ASYNC110 (a detached process has no events)
            await asyncio.sleep(0.01)


async def test_one_that_is_still_at_it_when_the_worker_ends_is_killed(tmp_path):
    out = tmp_path / "pid"
    code = f"import os, time; open({str(out)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    telling = asyncio.create_task(Command(program(code)).tell(BODY))
    async with asyncio.timeout(TIMEOUT_S):
        while not (out.exists() and out.read_text()):  # noqa: ASYNC110 (the same)
            await asyncio.sleep(0.01)
    telling.cancel()
    await asyncio.wait([telling])
    with pytest.raises(ProcessLookupError):
        os.kill(int(out.read_text()), 0)


async def test_one_that_is_not_there_has_failed():
    with pytest.raises(ChannelError, match="cannot be started: No such file"):
        await Command(["/nowhere/notify"]).tell(BODY)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"alert_webhook_url": "alerts.example.com"}, "ALERT_WEBHOOK_URL: expected a URL"),
        ({"alert_webhook_url": "http://alerts.example.com/hook"}, "ALERT_WEBHOOK_URL: expected https"),
        ({"alert_ping_url": "http://hc.example.com/uuid"}, "ALERT_PING_URL: expected https"),
        ({"alert_ping_url": "https://[::1"}, "ALERT_PING_URL: expected a URL"),
        ({"alert_webhook_url": "https://me:pw@alerts.example.com/"}, "ALERT_WEBHOOK_URL: expected a URL without a user"),
        ({"alert_webhook_secret": SECRET}, "ALERT_WEBHOOK_URL: not set, but ALERT_WEBHOOK_SECRET"),
        ({"alert_webhook_url": "https://a.example.com/", "alert_webhook_format": "teams"}, "ALERT_WEBHOOK_FORMAT"),
        ({"alert_command": "notify 'unclosed"}, "ALERT_COMMAND: expected a program"),
        ({"alert_ping_url": "https://hc.example.com/x", "https_proxy": "socks5://p:1"}, "HTTPS_PROXY"),
    ],
)
def test_what_is_wrong_with_a_setting_is_told_by_its_name_and_without_its_value(settings, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        require_channels(Environment(settings))
    assert all(value not in str(caught.value) for value in settings.values() if len(value) > 5)


def test_plain_http_is_for_hosts_that_are_named():
    require_channels(Environment({"alert_webhook_url": "http://alerts:8080/hook", "http_allowed_hosts": "alerts:8080"}))


async def test_nothing_is_told_where_nothing_is_set():
    async with opened() as channels:
        assert channels.names == []
        assert channels.ping is None
