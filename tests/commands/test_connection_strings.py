"""Every command accepts URLs as libpq does, and says so if one is not supported."""

from urllib.parse import urlsplit

import pytest

from crm_sync import events
from tests.process import ended, environment, process, said
from tests.roles import as_worker

COMMANDS = (("check",), ("status",), ("migrate", "--check"), ("grants", "postgres"), ("failed",), ("adopt", "--plan"))
# What Neon, Prisma, Supabase and node-postgres print, as far as it works with a server without TLS.
PRINTED = (
    "sslmode=prefer&channel_binding=prefer&connect_timeout=15&gssencmode=disable&keepalives=1&keepalives_idle=5&"
    "options=-c%20work_mem%3D8MB&target_session_attrs=read-write&load_balance_hosts=disable&application_name=shop&"
    "connection_limit=1&pool_timeout=5&schema=public&supa=base-pooler.x&uselibpqcompat=true"
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_what_vendors_print_works_in_every_command(url, brevo, command):
    async with process(environment(f"{url}?{PRINTED}", brevo, owner=True), *command) as asked:
        code, out, err = await ended(asked)
    assert code == 0, (out, err)


async def test_a_worker_takes_it_too(url, brevo):
    async with process(environment(f"{as_worker(url)}?{PRINTED}", brevo)) as worker:
        await said(worker, events.SESSION_OPENED)


@pytest.mark.parametrize("command", [("run",), ("check",), ("adopt",), ("migrate",), ("status",)], ids=" ".join)
async def test_what_cannot_be_met_ends_each_with_the_setting_and_the_parameter(url, brevo, command):
    secret = url.replace("//postgres@", "//postgres:hunter2@")
    async with process(environment(f"{secret}?gssencmode=require", brevo, owner=True), *command) as asked:
        code, out, err = await ended(asked)
    assert code == (1 if command == ("check",) else 78)
    assert "DATABASE_URL: gssencmode can be disable or prefer" in " ".join((out + err).split())
    assert "hunter2" not in out + err
    assert "Traceback" not in err


async def test_check_tells_what_is_met_in_part(url, brevo):
    query = "channel_binding=require&connection_limit=1"
    async with process(
        environment(f"{url}?{query}", brevo, LISTEN_DATABASE_URL=f"{url}?keepalives=1", owner=True), "check"
    ) as asked:
        _, out, _ = await ended(asked)
    told = " ".join(out.split())
    assert (
        "warning DATABASE_URL channel_binding is enforced by adopt and migrate only: the worker's driver has no channel binding"
        in told
    )
    assert "warning DATABASE_URL connection_limit is Prisma's" in told
    assert "warning LISTEN_DATABASE_URL keepalives applies to adopt and migrate only" in told


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslcrl"])
async def test_a_file_that_is_none_is_told_and_not_waited_for(url, brevo, tmp_path, name):
    (tmp_path / "file.pem").write_text("no certificate")
    for file, why in (("file.pem", "its content is not valid"), ("none.pem", "No such file")):
        query = f"sslmode=require&{name}={tmp_path / file}" + ("&sslkey=x" if name == "sslcert" else "")
        async with process(environment(f"{url}?{query}", brevo, owner=True)) as worker:
            code, _, err = await ended(worker)
        assert code == 78, err
        assert f"{name}: the file cannot be used: {why}" in err


async def test_a_service_is_looked_up(url, brevo, tmp_path):
    (tmp_path / "services").write_text(
        f"[shop]\nhost={url.split('@')[1].split(':')[0]}\nport={url.rpartition(':')[2].split('/')[0]}\n"
    )
    name = url.rpartition("/")[2]
    service = environment(
        f"postgresql://postgres@/{name}?service=shop", brevo, owner=True, PGSERVICEFILE=str(tmp_path / "services")
    )
    for command in ("check", "migrate"):
        async with process(service, command) as asked:
            code, out, err = await ended(asked)
        assert code == 0, (out, err)
    async with process(service | {"DATABASE_URL": f"postgresql:///{name}?service=none"}, "migrate") as asked:
        code, _, err = await ended(asked)
    assert code == 78
    assert "DATABASE_URL: service: not found in the file" in err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_keywords_work_in_every_command(url, brevo, command):
    parts = urlsplit(url)
    words = f"host={parts.hostname} port = {parts.port} user=postgres dbname='{parts.path[1:]}' connect_timeout=15 schema=public"
    async with process(environment(words, brevo, owner=True), *command) as asked:
        code, out, err = await ended(asked)
    assert code == 0, (out, err)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("host=one pool_size=3", "the parameter pool_size is unknown to Postgres"),
        ("host=one gssencmode=require", "gssencmode can be disable or prefer"),
        ("host=one password='hunter2", "expected pairs of name=value"),
        ("host=one password=hunter2 2hunter=2", "the name of a parameter is unknown"),
    ],
)
async def test_keywords_that_cannot_be_met_end_with_the_setting(words, why):
    async with process({"DATABASE_URL": words}, "status") as asked:
        code, out, err = await ended(asked)
    assert (code, out) == (78, "")
    assert err.startswith("crm-sync: DATABASE_URL: ")
    assert why in err
    assert "hunter" not in err
