"""A fifth CRM, as in the manual: one SQL call on a live table, one class registered by an entry point, a real worker."""

import asyncio
import re
import signal
import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from crm_sync.adoption.adopt import undo
from crm_sync.sandbox.server import Answer, Sandbox
from crm_sync.testing import ClientContract, Record
from tests.harness import until
from tests.manual import blocks
from tests.process import ended, environment, process, said
from tests.roles import WORKER, let_in

TOKEN = "a-token-of-pipedrive"


class PipedriveSandbox(Sandbox):
    """Persons, stored like in Pipedrive's API v2: addresses need not be unique."""

    def __init__(self):
        super().__init__()
        self.persons = {}

    def respond(self, call):  # noqa: PLR0911 (a table of routes)
        if call.headers.get("x-api-token") != TOKEN:
            return Answer(401, {"success": False, "error": "unauthorized access"})
        match call.method, call.path.split("/")[1:]:
            case "GET", ["users", "me"]:
                return Answer(200, {"success": True, "data": {"id": 1}})
            case "GET", ["persons", "search"]:
                items = [
                    {"item": {"id": number, "emails": [email["value"] for email in person["emails"]]}}
                    for number, person in self.persons.items()
                    if self._has(person, call.query["term"])
                ]
                return Answer(200, {"success": True, "data": {"items": items}})
            case "POST", ["persons"]:
                return self._keep(max(self.persons, default=0) + 1, call.body, 201)
            case "PATCH", ["persons", number] if int(number) in self.persons:
                return self._keep(int(number), call.body, 200)
            case "DELETE", ["persons", number] if self.persons.pop(int(number), None):
                return Answer(200, {"success": True, "data": {"id": int(number)}})
        return Answer(404, {"success": False, "error": "not found"})

    def _has(self, person, address):
        return any(email["value"].lower() == address.lower() for email in person["emails"])

    def _keep(self, number, person, status):
        self.persons[number] = person
        return Answer(status, {"success": True, "data": {"id": number, **person}})

    def throttled(self):
        return Answer(429, {"success": False, "error": "request over limit"})

    def refused(self):
        return Answer(400, {"success": False, "error": "Bad request"})


@cache
def module():
    """The manual's code, in this process."""
    [code] = blocks("how-to/add-a-crm.md")
    names = {"__name__": "pipedrive"}
    exec(compile(code, "pipedrive.py", "exec"), names)  # noqa: S102 (the manual's own)
    return SimpleNamespace(**names)


class TestTheManualsClient(ClientContract):
    """It passes the contract, odd answers included."""

    crm = property(lambda _: module().crm)
    fields = {"name": "Ada"}  # noqa: RUF012 (not changed)

    def sandbox(self):
        return PipedriveSandbox()

    def settings(self, url):
        return {"PIPEDRIVE_API_TOKEN": TOKEN, "PIPEDRIVE_URL": url}

    def records(self, sandbox):
        return [Record(str(number), one["emails"][0]["value"], one) for number, one in sandbox.persons.items()]


@pytest.fixture
def package(tmp_path):
    """The manual's module, installed like a package: next to the metadata that names its entry point."""
    [code] = blocks("how-to/add-a-crm.md")
    [entry_point] = tomllib.loads(*blocks("how-to/add-a-crm.md", "toml"))["project"]["entry-points"]["crm_sync.crms"].items()
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "pipedrive.py").write_text(code)
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[crm_sync.crms]\n{' = '.join(entry_point)}\n")
    return tmp_path


@pytest.fixture
async def pipedrive():
    async with PipedriveSandbox() as sandbox:
        yield sandbox


def settings(url, package, sandbox, **who):
    paths = {"PYTHONPATH": f"{package}:{Path.cwd() / 'worker'}"}
    return environment(url, **who) | paths | {"PIPEDRIVE_API_TOKEN": TOKEN, "PIPEDRIVE_URL": sandbox.url}


async def test_a_fifth_crm_is_one_sql_call_and_one_class(app, url, package, pipedrive):
    await app.execute(
        "INSERT INTO contacts (email, first_name) SELECT n || '@example.com', 'Ada ' || n FROM generate_series(1, 50) AS n"
    )
    await app.execute("SELECT crm_sync.add_crm('pipedrive')")
    async with process(settings(url, package, pipedrive, owner=True), "grants", WORKER) as grants:
        await app.execute((await ended(grants))[1])
    pipedrive.persons[1] = {"name": "an older one", "emails": [{"value": "7@example.com", "primary": True}]}
    env = settings(url, package, pipedrive)
    async with process(env, "check") as check:
        code, out, _ = await ended(check)
    assert code == 0
    assert re.search(r"ok +pipedrive credentials +token accepted", out)

    async with process(env):
        await app.execute("UPDATE contacts SET pipedrive_sync_status = 'Queued'")
        await until(app, "bool_and(pipedrive_sync_status = 'Complete') FROM contacts")
        assert await app.fetchval("SELECT pipedrive_contact_id FROM contacts WHERE email = '7@example.com'") == "1"
        assert {person["name"] for person in pipedrive.persons.values()} == {f"Ada {n}" for n in range(1, 51)}

        # A later change goes to the record whose id is in the row.
        await app.execute(
            "UPDATE contacts SET email = 'new@example.com', pipedrive_sync_status = 'Queued' WHERE email = '7@example.com'"
        )
        await until(app, "bool_and(pipedrive_sync_status = 'Complete') FROM contacts")
    assert len(pipedrive.persons) == 50
    assert pipedrive.persons[1]["emails"][0]["value"] == "new@example.com"


async def test_a_fifth_crm_is_previewed_up_to_where_it_depends_on_the_answer(app, url, package, pipedrive):
    await app.execute("SELECT crm_sync.add_crm('pipedrive')")
    await app.execute("INSERT INTO contacts (email, first_name) VALUES ('ada@example.com', 'Ada')")
    let_in(url)
    async with process(
        settings(url, package, pipedrive), "preview", "--email", "ada@example.com", "--crm", "pipedrive"
    ) as command:
        code, out, err = await ended(command)
    assert (code, err) == (0, "")
    assert f"GET {pipedrive.url}/persons/search?term=ada@example.com&fields=email&exact_match=true" in out
    assert "x-api-token: ***" in out
    assert "What follows depends on the answer." in out
    assert pipedrive.request_count == 0
    async with process(settings(url, package, pipedrive), "sync", "--email", "ada@example.com", "--crm", "pipedrive") as command:
        code, out, err = await ended(command)
    assert (code, err) == (0, "")
    assert pipedrive.persons[1]["name"] == "Ada"


async def test_a_fifth_crm_can_be_taken_off_again(app, url):
    before = await app.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'contacts' ORDER BY 1")
    await app.execute("SELECT crm_sync.add_crm('pipedrive')")
    assert await app.fetchval("SELECT count(pipedrive_sync_status) FROM contacts") == 0
    await app.execute("SELECT crm_sync.remove_crm('pipedrive')")
    after = await app.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'contacts' ORDER BY 1")
    assert after == before
    with pytest.raises(asyncpg.UndefinedColumnError):
        await app.execute("UPDATE contacts SET pipedrive_sync_status = 'Queued'")
    await asyncio.to_thread(undo, url)


async def test_a_package_that_cannot_be_loaded_is_told_with_its_name(url, package, pipedrive):
    (package / "my_package" / "pipedrive.py").write_text("import nothing_of_that_name")
    async with process(settings(url, package, pipedrive)) as worker:
        entry = await said(worker, "lane_faulty")
        await said(worker, "session_opened")
    assert entry["crm"] == "pipedrive"
    assert "the CRM pipedrive (my_package.pipedrive:crm) cannot be loaded: ModuleNotFoundError" in str(entry["reason"])


async def test_of_two_packages_for_one_crm_neither_is_used(url, package, pipedrive):
    entry_points = package / "my_package-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[crm_sync.crms]\nbrevo = my_package.pipedrive:account\n")
    async with process(settings(url, package, pipedrive)) as worker:
        entry = await said(worker, "lane_faulty")
    assert entry["crm"] == "brevo"
    assert "two packages register the CRM brevo" in str(entry["reason"])


async def test_its_settings_come_from_where_those_of_the_others_do_and_anew_at_sighup(app, url, package, pipedrive, tmp_path):
    await app.execute("SELECT crm_sync.add_crm('pipedrive')")
    let_in(url)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "PIPEDRIVE_API_TOKEN").write_text("wrong\u201d")
    env = settings(url, package, pipedrive) | {"CREDENTIALS_DIRECTORY": str(credentials), "PIPEDRIVE_TOKEN": "x"}
    del env["PIPEDRIVE_API_TOKEN"]
    async with process(env) as worker:
        unknown = await said(worker, "unknown_setting")
        assert (unknown["name"], unknown["nearest"]) == ("PIPEDRIVE_TOKEN", "PIPEDRIVE_API_TOKEN")
        faulty = await said(worker, "lane_faulty")
        assert faulty["crm"] == "pipedrive"
        assert "PIPEDRIVE_API_TOKEN: expected" in str(faulty["reason"])
        (credentials / "PIPEDRIVE_API_TOKEN").write_text(f"{TOKEN}\n")
        worker.send_signal(signal.SIGHUP)
        await said(worker, "configuration_reloaded")
        await app.execute("INSERT INTO contacts (email, pipedrive_sync_status) VALUES ('ada@example.com', 'Queued')")
        await until(app, "bool_and(pipedrive_sync_status = 'Complete') FROM contacts")


async def test_its_key_is_named_when_it_is_refused(app, url, package, pipedrive):
    await app.execute("SELECT crm_sync.add_crm('pipedrive')")
    let_in(url)
    async with process(settings(url, package, pipedrive) | {"PIPEDRIVE_API_TOKEN": "another"}, "check") as check:
        code, out, _ = await ended(check)
    assert code == 1
    assert "check PIPEDRIVE_API_TOKEN" in " ".join(out.split())


async def test_what_its_check_raises_fails_that_line_alone(app, url, package, pipedrive):
    await app.execute("SELECT crm_sync.add_crm('pipedrive')")
    let_in(url)
    module_file = package / "my_package" / "pipedrive.py"
    module_file.write_text(
        module_file.read_text().replace("    async def check(self):", "    async def check(self):\n        {}['x']")
    )
    async with process(settings(url, package, pipedrive), "check") as check:
        code, out, err = await ended(check)
    assert code == 1
    said = " ".join(out.split())
    assert "CLIENT_FAILED: the client of this CRM failed: KeyError in pipedrive.py, line" in said
    assert "Traceback" not in out + err
