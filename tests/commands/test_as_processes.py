"""Each command as a process with its own interpreter: its exit code, its two streams, and Ctrl-C.

What a command does is tested with forked processes (tests/forked.py). These tests show that a normal start does the same.
"""

import asyncio
import os
import signal

import pytest

from crm_sync.cli import COMMANDS
from tests.harness import until
from tests.process import ended, environment, process, said
from tests.roles import WORKER, nobody
from tests.steps import insert
from tests.tiers import one_quick, slow

PERSON = ("--email", "ada@example.com", "--crm", "brevo")
# Arguments, exit code, and standard output.
ANSWERS = {
    "adopt": (("--plan",), 0, "Nothing to do: everything is in place."),
    "migrate": (("--check",), 0, "Nothing is missing"),
    "status": (("--json",), 0, '"crm": "brevo"'),
    "why": (PERSON, 0, "REJECTED"),
    "failed": ((), 0, "REJECTED: no"),
    "retry": (("--yes",), 0, "REJECTED"),
    "preview": (PERSON, 0, "Nothing was sent, and nothing was changed."),
    "sync": (PERSON, 0, "outcome"),
    "pause": (("brevo", "--reason", "a test"), 0, "brevo is paused for all workers: a test"),
    "resume": (("brevo",), 0, "brevo is not paused by hand"),
    "match": (("brevo",), 0, "brevo: 1 looked up, 0 matched"),
    "watch": (("brevo", "--columns", "email"), 0, "brevo watches email."),
    "unwatch": (("brevo",), 0, "brevo"),
    "on-delete": (("brevo", "keep"), 0, "brevo"),
    "clearing": (("brevo",), 0, "off"),
    "history": (PERSON, 0, "History has nothing on this contact"),
    "forget": (("00000000-0000-0000-0000-000000000000",), 0, "Nothing to forget"),
    "alerts": ((), 0, "Nothing is wrong"),
    "trace": ((), 0, "off"),
    "check": ((), 0, "key accepted"),
    "errors": ((), 0, "REJECTED"),
    "settings": ((), 0, "HUBSPOT_PLAN"),
    "completion": (("bash",), 0, "complete"),
    "grants": ((WORKER,), 0, "GRANT"),
    "n8n-workflow": ((), 0, '"nodes"'),
    "systemd": ((), 0, "[Service]"),
}
WITHOUT_RIGHTS = f"crm_sync_without_rights_{os.getpid()}"
# The first two report errors in their output.
NEED_NOTHING = ("check", "settings", "errors", "n8n-workflow", "systemd", "completion")
OF_THE_OWNER = ("adopt", "migrate", "pause", "resume", "watch", "unwatch", "on-delete", "grants")


def test_all_commands_are_here():
    assert {*ANSWERS, "run", "demo", "init", "console", "token", "sandbox", "compare"} == {*COMMANDS}


@pytest.mark.parametrize("command", one_quick(ANSWERS))
async def test_it_answers_on_standard_output_and_exits(app, url, brevo, command):
    contact = await insert(app, "Error")
    await app.execute("UPDATE contacts SET brevo_processing_error = 'REJECTED: no' WHERE id = $1", contact)
    arguments, expected, words = ANSWERS[command]
    env = environment(url, brevo, owner=command in OF_THE_OWNER)
    async with process(env, command, *arguments, fresh=True) as running:
        code, out, err = await ended(running)
    assert code == expected, (out, err)
    assert words in " ".join(out.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("command", one_quick(command for command in ANSWERS if command not in NEED_NOTHING))
async def test_a_wrong_setting_is_a_sentence_on_standard_error_and_exits_with_78(command):
    arguments, *_ = ANSWERS[command]
    async with process({"DATABASE_URL": "mysql://x"}, command, *arguments, fresh=True) as running:
        code, out, err = await ended(running)
    assert (code, out) == (78, "")
    assert err.startswith("crm-sync: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command", ["status", "failed", "why", "preview", "sync", "history", "alerts", "pause", "retry", "on-delete"]
)
async def test_a_right_that_is_missing_is_told_with_who_can_give_it(url, command):
    its_url = await asyncio.to_thread(nobody, url, WITHOUT_RIGHTS)
    async with process(environment(its_url, owner=True), command, *ANSWERS[command][0]) as running:
        code, out, err = await ended(running)
    assert (code, out) == (78, "")
    assert "DATABASE_URL" in err
    assert "owner" in err
    assert "Traceback" not in err


async def test_a_wrong_option_exits_with_2():
    async with process({}, "status", "--no-such-option", fresh=True) as running:
        code, out, err = await ended(running)
    assert (code, out) == (2, "")
    assert "No such option" in err


async def test_ctrl_c_ends_a_worker_that_drains(app, url, brevo):
    async with process(environment(url, brevo), "run", fresh=True) as running:
        await said(running, "session_opened")
        running.send_signal(signal.SIGINT)
        code, out, err = await ended(running)
    assert (code, out) == (0, "")
    assert "Traceback" not in err


# Not just any session: autovacuum may connect before the command has started.
LOOKS = "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'crm-sync' AND datname = current_database())"


async def test_ctrl_c_ends_a_look_that_goes_on(app, url):
    async with process(environment(url), "status", "--watch", fresh=True) as running:
        await until(app, LOOKS)
        running.send_signal(signal.SIGINT)
        code, _, err = await ended(running)
    assert (code, err) == (0, "")


async def test_ctrl_c_ends_a_command_that_waits(app, other_app, url):
    waits = "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'crm_sync.lanes'::regclass)"
    async with other_app.transaction():
        await other_app.execute("LOCK TABLE crm_sync.lanes")
        async with process(environment(url), "status", fresh=True) as running:
            await until(app, waits)
            running.send_signal(signal.SIGINT)
            code, out, err = await ended(running)
    assert (code, out) == (1, "")
    assert "Aborted!" in err
    assert "Traceback" not in err


@slow
async def test_the_demo_runs_from_nothing():
    async with process({"HOME": "/nonexistent"}, "demo", "--contacts", "200", fresh=True) as running:
        code, out, err = await ended(running)
    assert code == 0, (out, err)
