"""The container: it is built, and delivers as an unprivileged user with a read-only root. And the compose file."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crm_sync import __version__
from tests.boot.tree import NotHereError, tree
from tests.harness import ALL_COMPLETE, TIMEOUT_S, until
from tests.packages.built import ROOT, built, module, ran
from tests.packages.container import container
from tests.process import KEY, ended
from tests.roles import as_worker
from tests.steps import insert
from tests.tiers import root, slow

COMPOSE = ROOT / "deploy" / "compose.yaml"
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    try:
        with tree(tmp_path_factory.mktemp("base")) as base:
            wheel, _ = built()
            with container(tmp_path_factory.mktemp("container"), base.folder, wheel) as ready:
                yield ready
    except NotHereError as reason:
        pytest.skip(str(reason))


@asynccontextmanager
async def started(made, *arguments, **settings):
    """Killed at the end if it still runs."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    running = await asyncio.create_subprocess_exec(*made.command(*arguments), env=made.environment(**settings), **pipes)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


def healthy(made, settings):
    test = made.config["Healthcheck"]["Test"]
    assert test[0] == "CMD"
    command, env = made.inside(*test[1:]), made.environment(**settings)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    return done.returncode, done.stdout + done.stderr


def child(pid):
    """The process that unshare has started."""
    [only] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(only)


def user(pid):
    return Path(f"/proc/{pid}").stat().st_uid


def unwritable(made, *files):
    touch = made.inside("touch", *files)
    done = subprocess.run(touch, env=made.environment(), capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    return done.stderr.count("Read-only file system") == len(files)


@slow
@root
async def test_it_delivers_as_nobody_with_a_root_that_cannot_be_written_to(app, url, brevo, made):
    settings = {
        "DATABASE_URL": as_worker(url),
        "BREVO_API_KEY": KEY,
        "BREVO_BASE_URL": f"{brevo.url}/v3",
        "BREVO_LIMITS": "none",
    }
    assert made.config["User"] == "65532:65532"
    async with started(made, "--version") as asked:
        assert await ended(asked) == (0, f"crm-sync, version {__version__}\n", "")
    code, said = healthy(made, settings)
    assert (code, said) == (1, "the worker of this host has no session with the database\n")

    async with started(made, **settings) as worker:
        await insert(app, "Queued")
        await until(app, ALL_COMPLETE)
        assert healthy(made, settings) == (0, "")
        assert healthy(made, settings | {"DATABASE_URL": "postgresql://127.0.0.1:1/nothing"})[0] == 1
        pid = child(worker.pid)
        assert user(pid) == 65532
        os.kill(pid, signal.SIGTERM)
        code, out, err = await ended(worker)
    assert (code, out) == (0, ""), err
    assert "worker_stopped" in err
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0
    assert unwritable(made, "/x", "/etc/crm-sync/x", "/opt/crm-sync/x", "/usr/x")


def test_the_base_is_named_once_and_from_outside():
    text = CONTAINERFILE.read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert len(re.findall(r"^ARG BASE=", text, re.MULTILINE)) == 1


@slow
def test_compose_would_read_its_file(tmp_path):
    module("check_jsonschema")
    check = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    assert "ok" in ran(*check, COMPOSE, cwd=tmp_path)


def test_in_compose_no_service_but_the_database_can_write_or_become_more():
    text = COMPOSE.read_text()
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
        assert line in text
    assert text.count("<<: *crm-sync") == 2
