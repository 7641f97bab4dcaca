"""Our client and the included workflow against a real n8n: `N8N_REAL_FOLDER=... python -m tests.crm.n8n_real`.

The folder keeps the installation (some 2 GB, a few minutes, once); everything else goes into a subfolder, which is removed. Exits
1 at the first difference. Without npm, node, or the folder: says so, and exits 0. n8n is not open source: none of it is part of
this project.
"""

import asyncio
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from aiohttp import web
from click.testing import CliRunner

from crm_sync.commands.n8n_workflow import n8n_workflow
from crm_sync.core.outcome import Contact, Verdict
from crm_sync.crm.http import Http
from crm_sync.crm.n8n.client import N8n
from crm_sync.crm.n8n.login import read_login
from crm_sync.crm.n8n.settings import N8nSettings
from crm_sync.errors import BatchRefusedError, LaneError
from crm_sync.sandbox.postgres import free_port

N8N_VERSION = "2.41.1"
NODE_VERSION = 24  # n8n 2.41 requires this version
PLACE = "YOUR NODES GO HERE"
INSTALL_TIMEOUT_S = 1200
COMMAND_TIMEOUT_S = 180
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
HEADER = {"n8n_header_name": "X-Crm-Sync-Key", "n8n_header_value": "the header's value"}
SIGNED = {"n8n_signing_secret": "the signing secret"}
CREDENTIALS = [
    {
        "id": "crmSyncHeader",
        "name": "crm-sync header",
        "type": "httpHeaderAuth",
        "data": {"name": HEADER["n8n_header_name"], "value": HEADER["n8n_header_value"]},
    },
    {
        "id": "crmSyncSigning",
        "name": "crm-sync signing secret",
        "type": "crypto",
        "data": {"hmacSecret": SIGNED["n8n_signing_secret"]},
    },
]


# The installation.


def installed(folder):
    """node and n8n's script, installed if they are not. Raises FileNotFoundError without npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise FileNotFoundError("npm and node are needed")
    node = folder / "node" / "node_modules" / "node" / "bin" / "node"
    if not node.exists():
        _npm(npm, folder / "node", "install", f"node@{NODE_VERSION}")
    script = folder / "n8n" / "node_modules" / "n8n" / "bin" / "n8n"
    if not script.exists():
        # Its native packages for Kafka and the like are not needed, and not available everywhere.
        _npm(npm, folder / "n8n", "install", "--omit=dev", "--ignore-scripts", f"n8n@{N8N_VERSION}", node=node)
        _npm(npm, folder / "n8n", "rebuild", "sqlite3", node=node)
    return node, script


def _npm(npm, folder, *arguments, node=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    path = os.pathsep.join([str(node.parent)] * (node is not None) + [os.environ["PATH"]])
    subprocess.run(
        [npm, *arguments, "--no-audit", "--no-fund"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        check=True,
        timeout=INSTALL_TIMEOUT_S,
        stdout=subprocess.DEVNULL,
    )


class RealN8n:
    """An n8n with its own database, on loopback."""

    def __init__(self, node, script, home):
        self._command = [str(node), str(script)]
        self._home = home
        self._port, broker_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {
            "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "NODE_ENV": "production",
            "DB_TYPE": "sqlite",
            "N8N_USER_FOLDER": str(home),
            "N8N_ENCRYPTION_KEY": "of a throw-away n8n",
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_PORT": str(self._port),
            "N8N_RUNNERS_BROKER_PORT": str(broker_port),
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_PERSONALIZATION_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
        }

    def run(self, *arguments):
        subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            cwd=self._home,
            check=True,
            timeout=COMMAND_TIMEOUT_S,
            stdout=subprocess.DEVNULL,
        )

    def load(self, what, content):
        file = self._home / f"{what}.json"
        file.write_text(json.dumps(content))
        self.run(f"import:{what}", f"--input={file}")

    @asynccontextmanager
    async def running(self):
        with (self._home / "n8n.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 (it is waited for below, off the loop)
                [*self._command, "start"], env=self._environment, cwd=self._home, stdout=log, stderr=log
            )
            try:
                yield
            finally:
                process.terminate()
                try:
                    await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


# The workflows: the included one, with different nodes in place of the user's.


def workflows(sink_url):
    shipped = json.loads(CliRunner().invoke(n8n_workflow).output)
    request = {
        "method": "POST",
        "url": sink_url,
        "sendBody": True,
        "specifyBody": "json",
        "jsonBody": "={{ JSON.stringify($json) }}",
        "options": {},
    }
    reporting = variant(shipped, "reporting", "httpRequest", 4.2, request, onError="continueErrorOutput")
    reporting["connections"][PLACE]["main"].append([{"node": "Failed contacts", "type": "main", "index": 0}])
    return [
        shipped,
        variant(shipped, "posting", "httpRequest", 4.2, request),
        reporting,
        variant(shipped, "losing", "limit", 1, {"maxItems": 1}),
    ]


def variant(shipped, path, node_type, version, parameters, **more):
    """The included workflow at its own path, with this node in place of the user's."""
    workflow = copy.deepcopy(shipped)
    workflow |= {"id": f"{path}Workflow00001"[:16], "name": path}
    for node in workflow["nodes"]:
        if node["type"] == "n8n-nodes-base.webhook":
            node["parameters"]["path"] = node["webhookId"] = path
        if node["name"] == PLACE:
            node.update(type=f"n8n-nodes-base.{node_type}", typeVersion=version, parameters=parameters, **more)
    return workflow


class Sink:
    """The destination of the posting workflows. failing: the addresses it answers with 500."""

    def __init__(self):
        self.heard = []
        self.failing = set()

    async def __aenter__(self):
        self._runner = web.ServerRunner(web.Server(self._hear))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _hear(self, request):
        email = (await request.json())["email"]
        self.heard.append(email)
        return web.json_response({"message": "the sink is closed"}, status=500 if email in self.failing else 200)


# Our side.


@asynccontextmanager
async def client(url, path="crm-sync", *, batch_limit=1, **login):
    credentials = read_login(N8nSettings(**(login or HEADER | SIGNED)))
    async with Http(url, credentials.headers, timeout_s=60.0) as http:
        yield N8n(http, target=f"/webhook/{path}", origin=url, login=credentials, batch_limit=batch_limit)


def contact(number, flipped_at=datetime(2026, 11, 23, 9, 30, tzinfo=UTC)):
    fields = {"first_name": "Zoë", "company": "Søn & Cie"}
    email = f"person{number}@example.com"
    return Contact(number, token=1, attempts=1, remote_id=None, email=email, flipped_at=flipped_at, fields=fields)


async def said(n8n, *contacts):
    """The result: (verdict or kind of error, code, id or reason) of each, or of all."""
    try:
        entries = await n8n.deliver(contacts)
    except LaneError as error:
        entries = [error]
    return [
        (type(entry).__name__, entry.code, entry.reason)
        if isinstance(entry, LaneError)
        else (entry.verdict, entry.code, entry.remote_id or entry.reason)
        for entry in entries
    ]


def expect(what, holds, seen):
    print(f"{'ok  ' if holds else 'WRONG'} {what}" + ("" if holds else f": {seen}"), flush=True)
    if not holds:
        sys.exit(1)


async def refused(what, n8n, code, words):
    [(kind, seen_code, reason)] = await said(n8n, contact(99))
    holds = (kind, seen_code) == ("RefusedError", code) and words in str(reason)
    expect(f"{what} -> {code}", holds, (kind, seen_code, reason))


async def until_it_is_there(url):
    """Delivers from the very start. Returns the results until it worked."""
    codes = []
    deadline = time.monotonic() + START_TIMEOUT_S
    async with client(url) as n8n:
        while time.monotonic() < deadline:
            [(kind, code, _)] = await said(n8n, contact(0))
            if kind is Verdict.DELIVERED:
                return codes
            codes += [code] if code not in codes[-1:] else []
            await asyncio.sleep(0.02)
    raise TimeoutError(f"n8n did not start: {codes}")


async def unpublished(url):
    deadline = time.monotonic() + START_TIMEOUT_S
    async with client(url) as n8n:
        while time.monotonic() < deadline:
            if (await said(n8n, contact(0)))[0][1] == "INACTIVE":
                break
            await asyncio.sleep(0.1)
        await refused("an inactive workflow", n8n, "INACTIVE", "The workflow must be active for a production URL")
        try:
            words = await n8n.check()
        except LaneError as error:
            words = error.code
        expect("its check -> INACTIVE", words == "INACTIVE", words)


async def credentials(url):
    async with client(url, **HEADER, n8n_signing_secret="wrong") as n8n:
        await refused("a wrong signature", n8n, "REFUSED", "the signature is wrong")
    async with client(url, **HEADER) as n8n:
        await refused("no signature", n8n, "REFUSED", "the signature is wrong")
    async with client(url, n8n_header_name="X-Crm-Sync-Key", n8n_header_value="wrong", **SIGNED) as n8n:
        await refused("a wrong header", n8n, "REFUSED", "N8N_HEADER_VALUE")

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(minutes=10)

    async with client(url) as n8n:
        with patch("crm_sync.crm.n8n.client.datetime", Earlier):
            await refused("a copy of an old call", n8n, "REFUSED", "sent_at is more than five minutes off")
    async with client(url) as n8n:
        words = await n8n.check()
        expect("the check finds the workflow", "an active workflow is listening" in words, words)


async def single(url, sink):
    async with client(url, "posting") as n8n:
        [first] = await said(n8n, contact(1))
        expect("a contact -> delivered with an execution id", first[0] is Verdict.DELIVERED and first[2].isdecimal(), first)
        [again] = await said(n8n, contact(1))
        expect("the same flip again -> the same id", again == first, again)
        expect("and run once", sink.heard == ["person1@example.com"], sink.heard)
        [later] = await said(n8n, contact(1, datetime.now(UTC)))
        expect(
            "another flip -> run again", later[0] is Verdict.DELIVERED and later[2] != first[2] and len(sink.heard) == 2, later
        )
        sink.failing = {"person2@example.com"}
        [failed] = await said(n8n, contact(2))
        expect("a run that fails -> WORKFLOW_FAILED", failed[:2] == (Verdict.FAILED, "WORKFLOW_FAILED"), failed)
        sink.failing = set()
        [retried] = await said(n8n, contact(2))
        expect("and is run again", retried[0] is Verdict.DELIVERED and sink.heard[-2:] == ["person2@example.com"] * 2, sink.heard)


async def several(url, sink):
    crowd = [contact(number) for number in range(10, 14)]
    async with client(url, "posting", batch_limit=10) as n8n:
        first = await said(n8n, *crowd[:2])
        both = await said(n8n, *crowd)
        expect("a list -> delivered", all(one[0] is Verdict.DELIVERED for one in both), both)
        expect("those of before keep their id", both[:2] == first and both[2][2] != first[0][2], both)
        expect(
            "and are run once", len([one for one in sink.heard if one.startswith("person1") and len(one) > 19]) == 4, sink.heard
        )
        sink.failing = {"person15@example.com"}
        failed = await said(n8n, contact(14), contact(15))
        expect("a list that fails -> for the lane to halve", {one[0] for one in failed} == {BatchRefusedError.__name__}, failed)
    async with client(url, "reporting", batch_limit=10) as n8n:
        good, bad = await said(n8n, contact(14), contact(15))
        expect(
            "an error output -> only this contact is rejected", (good[0], bad[0]) == (Verdict.DELIVERED, Verdict.REJECTED), bad
        )
        sink.failing = set()
        expect("and is run again", (await said(n8n, contact(15)))[0][0] is Verdict.DELIVERED, bad)
    async with client(url, "losing", batch_limit=10) as n8n:
        good, lost = await said(n8n, contact(20), contact(21))
        expect(
            "a contact that gets lost -> NOT_ACCOUNTED", (good[0], lost[1]) == (Verdict.DELIVERED, "NOT_ACCOUNTED"), (good, lost)
        )


async def run(n8n):
    async with Sink() as sink:
        n8n.load("credentials", CREDENTIALS)
        all_of_them = workflows(sink.url)
        n8n.load("workflow", all_of_them)
        async with n8n.running():
            await unpublished(n8n.url)
        for workflow in all_of_them:
            n8n.run("publish:workflow", f"--id={workflow['id']}")
        async with n8n.running():
            codes = await until_it_is_there(n8n.url)
            expected = "NOT_READY" in codes and set(codes) <= {"UNREACHABLE", "NOT_READY", "INACTIVE"}
            expect(f"while it starts -> {', '.join(codes)}", expected, codes)
            await credentials(n8n.url)
            await single(n8n.url, sink)
            await several(n8n.url, sink)


def main():
    name = os.environ.get("N8N_REAL_FOLDER")
    if not name:
        print("skipped: N8N_REAL_FOLDER names no folder for the installation")
        return
    folder = Path(name).resolve()
    try:
        node, script = installed(folder)
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        return
    with tempfile.TemporaryDirectory(dir=folder) as home:
        asyncio.run(run(RealN8n(node, script, Path(home))))


if __name__ == "__main__":
    main()
