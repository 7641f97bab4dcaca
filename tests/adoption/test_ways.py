"""Ways to the database: through a pooler, over TLS whose server is verified, and to whichever of several hosts is the primary."""

import asyncio
import shutil
import subprocess

import psycopg
import pytest

from crm_sync import events
from crm_sync.adoption.adopt import undo
from crm_sync.errors import ConfigurationError
from crm_sync.sandbox.postgres import Postgres, PostgresUnavailableError
from tests.adoption import field
from tests.faults.pooler import ABSENT, PROGRAM, Pooler
from tests.faults.test_server import Replica, application
from tests.harness import ALL_COMPLETE, TIMEOUT_S, ScriptedCrm, running, until
from tests.photograph import take
from tests.process import ended, environment, process, said
from tests.roles import adopt
from tests.servers import OPTIONS, VERSION, memory, running_server
from tests.tiers import slow

INSERT = "INSERT INTO contacts (email, brevo_sync_status) VALUES ('ada@example.com', 'Queued')"
# psycopg and asyncpg have SSL; of the embedded servers none has.
VERSIONS_WITH_TLS = (VERSION, 15, 16, 17)


@slow
@pytest.mark.skipif(PROGRAM is None, reason=ABSENT)
async def test_through_a_transaction_pooler_it_is_refused_and_with_a_direct_connection_beside_it_works(people):
    before = await asyncio.to_thread(take, people.server, people.name)
    async with Pooler(people.url.replace("@", ":@")) as pooler:
        settings = {"CONTACTS_TABLE": field.TABLE, "DATABASE_BEHIND_POOLER": "true"}
        for command in (("adopt",), ("adopt", "--plan"), ("migrate",), ("adopt", "--undo", "--yes")):
            async with process(environment(pooler.url, owner=True, **settings), *command) as running:
                code, _, err = await ended(running)
            assert code == 78
            assert "transaction pooler: set LISTEN_DATABASE_URL" in err
            assert "Traceback" not in err
        assert await asyncio.to_thread(take, people.server, people.name) == before
        # What the pool's sessions are set to stays theirs.
        with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as through:
            assert through.execute("SHOW statement_timeout").fetchone() == ("5s",)
        settings["LISTEN_DATABASE_URL"] = people.url
        for command, words in ((("adopt",), "Done"), (("migrate",), "Nothing to do"), (("adopt", "--undo", "--yes"), "Done")):
            async with process(environment(pooler.url, owner=True, **settings), *command) as running:
                code, out, err = await ended(running)
            assert (code, err) == (0, "")
            assert words in out
    assert await asyncio.to_thread(take, people.server, people.name) == before


@slow
async def test_of_several_hosts_the_primary_is_found_wherever_it_stands():
    with running_server() as primary:
        standby = Replica(VERSION, OPTIONS, within=memory())
        try:
            with psycopg.connect(primary.url(), autocommit=True) as admin:
                admin.execute("CREATE ROLE operator SUPERUSER LOGIN")
            standby.follow(primary)
            hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
            url = f"postgresql://operator@{hosts}/postgres?target_session_attrs=read-write&application_name=somebody"
            async with process(environment(url, owner=True), "adopt") as running_adopt:
                code, out, err = await ended(running_adopt)
            assert (code, err) == (0, "")
            assert "Done" in out
            async with process(environment(url, owner=True), "migrate", "--check") as checking:
                assert (await ended(checking))[0] == 0
            crm = ScriptedCrm()
            async with running(url, crm), application(primary.url()) as app:
                await app.execute(INSERT)
                await until(app, ALL_COMPLETE)
            assert len(crm.requests) == 1
            await asyncio.to_thread(undo, url)
            with pytest.raises(ConfigurationError, match="read-only: name the primary"):
                await asyncio.to_thread(adopt, standby.url())
        finally:
            standby.destroy()


def openssl(folder, *arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=TIMEOUT_S, cwd=folder)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with ca.pem, a certificate that it signed for 127.0.0.1, and other.pem, an authority that signed nothing."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2)
    for name in ("ca", "other"):
        openssl(folder, "req", "-x509", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl(
        folder, "req", "-x509", *key, "-subj", "/CN=database", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", "ca.pem",
        "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem",
    )  # fmt: skip
    return folder


class TlsServer(Postgres):
    """Lets nobody in without TLS."""

    def demand_tls(self, folder):
        for name in ("server.key", "server.pem"):
            shutil.copy(folder / name, self.data / name)
            if self._user is not None:
                shutil.chown(self.data / name, self._user)
        (self.data / "server.key").chmod(0o600)
        with psycopg.connect(self.url(), autocommit=True) as admin:
            for setting, value in (("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("ssl", "on")):
                admin.execute(f"ALTER SYSTEM SET {setting} = '{value}'".encode())
        (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        self.stop()
        self.start()


@pytest.fixture
def tls_server(authority):
    for version in VERSIONS_WITH_TLS:
        try:
            server = TlsServer(version, OPTIONS, within=memory())
        except PostgresUnavailableError:
            continue
        try:
            server.create()
            if has_tls(server):
                server.demand_tls(authority)
                yield server
                return
        finally:
            server.destroy()
    pytest.skip("no server with TLS is on this machine: the embedded ones have none, Debian's have")


def has_tls(server):
    with psycopg.connect(server.url(), autocommit=True) as admin:
        row = admin.execute("SELECT setting FROM pg_config() WHERE name = 'CONFIGURE'").fetchone()
    return "openssl" in row[0]


@slow
async def test_over_tls_adopt_and_a_worker_verify_the_server_and_trust_no_other_authority(tls_server, authority, brevo):
    def url(authority_file, host="127.0.0.1"):
        database = f"postgresql://postgres@{host}:{tls_server.port}/postgres"
        return f"{database}?sslmode=verify-full&sslrootcert={authority / authority_file}"

    # Of another authority; of another host; and without TLS.
    for wrong in (url("other.pem"), url("ca.pem", "localhost"), url("ca.pem").replace("verify-full", "disable")):
        for command in ("adopt", "run"):
            async with process(environment(wrong, brevo, owner=True), command) as running_wrong:
                if command == "run":
                    # It may be put right while it runs.
                    assert "certificate" in str(await said(running_wrong, events.DATABASE_TROUBLE)) or "disable" in wrong
                    continue
                code, _, err = await ended(running_wrong)
            assert code == 1
            assert err.startswith("crm-sync: ")
            assert "Traceback" not in err

    async with process(environment(url("ca.pem"), owner=True), "adopt") as adopting:
        code, out, err = await ended(adopting)
    assert (code, err) == (0, "")
    assert "Done" in out
    async with process(environment(url("ca.pem"), brevo, owner=True)) as worker:
        await said(worker, events.SESSION_OPENED)
        with psycopg.connect(url("ca.pem"), autocommit=True) as app:
            open_ones = app.execute(
                "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_port > 0"
            )
            count, are_safe = open_ones.fetchone()
            assert count > 1
            assert are_safe
            app.execute(INSERT)
            async with asyncio.timeout(TIMEOUT_S):
                while app.execute(f"SELECT {ALL_COMPLETE}").fetchone() != (True,):  # noqa: ASYNC110 (the table tells nobody)
                    await asyncio.sleep(0.02)


@slow
async def test_what_the_system_trusts_proves_the_server_to_both_drivers(tls_server, authority, brevo):
    url = f"postgresql://postgres@127.0.0.1:{tls_server.port}/postgres?sslrootcert=system"
    for file, trusted in (("other.pem", False), ("ca.pem", True)):
        env = {"SSL_CERT_FILE": str(authority / file)}
        async with process(environment(url, owner=True, **env), "adopt") as adopting:
            code, _, err = await ended(adopting)
        assert code == (0 if trusted else 1), err
        async with process(environment(url, brevo, owner=True, **env)) as worker:
            if trusted:
                await said(worker, events.SESSION_OPENED)
            else:
                assert "certificate" in str(await said(worker, events.DATABASE_TROUBLE))
