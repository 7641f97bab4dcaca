"""The Debian package: its metadata, and its life on a machine booted by systemd."""

import re
import shutil
import stat

import pytest

from crm_sync import __version__
from crm_sync.cli import COMMANDS
from tests.boot.service import FOLDER, Service
from tests.harness import ALL_COMPLETE, until
from tests.packages.built import ROOT, ran
from tests.packages.debian import package
from tests.process import KEY
from tests.roles import as_worker
from tests.steps import insert
from tests.tiers import root, slow

pytestmark = [slow, root]

AT_HOME = ("env", "--chdir=/etc/crm-sync")


@pytest.fixture(scope="module")
def deb(tmp_path_factory):
    return package(tmp_path_factory.mktemp("deb"))


class Packaged(Service):
    """With the unit of the package."""

    async def install(self, deb) -> str:
        self.machine.path("/root/crm-sync.deb").write_bytes(deb.read_bytes())
        return await self.machine.run("dpkg", "--install", "/root/crm-sync.deb")

    async def command(self, *arguments: str) -> str:
        """As an administrator runs it."""
        return await self.machine.run(*AT_HOME, "crm-sync", *arguments)


def test_lintian_has_nothing_to_say(deb):
    if shutil.which("lintian") is None:
        pytest.skip("there is no lintian here")
    [changes] = deb.parent.glob("*.changes")
    how = ("--allow-root", "--fail-on", "error,warning,info", "--suppress-tags", "bad-distribution-in-changes-file")
    assert ran("lintian", *how, changes, cwd=deb.parent) == ""


def test_it_has_the_version_of_crm_sync_and_a_page_for_each_command(deb):
    assert ran("dpkg-deb", "--field", deb, "Version", cwd=deb.parent) == f"{__version__}-1"
    listed = ran("dpkg-deb", "--contents", deb, cwd=deb.parent)
    for name in ("crm-sync", *(f"crm-sync-{name}" for name in COMMANDS)):
        assert f"./usr/share/man/man1/{name}.1.gz" in listed
    assert "./usr/share/man/man5/crm-sync.env.5.gz" in listed
    assert (ROOT / "deploy" / "debian" / "changelog").read_text().startswith(f"crm-sync ({__version__}-1) ")


async def test_its_life_on_a_machine(app, url, brevo, machine, deb):
    service = Packaged(machine)
    await service.install(deb)
    # It waits for its configuration, which only its group can read.
    assert (await service.systemctl("is-enabled", code=1)).strip() == "disabled"
    assert await service.show("ActiveState") == "inactive"
    settings = machine.path(f"{FOLDER}/.env")
    group = (await machine.run("id", "--group", "crm-sync")).strip()
    assert (stat.S_IMODE(settings.stat().st_mode), str(settings.stat().st_gid)) == (0o640, group)
    assert await service.command("--version") == f"crm-sync, version {__version__}\n"
    assert "wrong: DATABASE_URL: not set" in await machine.run(*AT_HOME, "crm-sync", "settings", code=1)

    given = {"DATABASE_URL": as_worker(url), "BREVO_API_KEY": KEY, "BREVO_BASE_URL": f"{brevo.url}/v3", "BREVO_LIMITS": "none"}
    settings.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    assert "key accepted" in await service.command("check")
    await service.systemctl("enable", "--now")
    await service.shows("StatusText", "delivering to brevo")
    await insert(app, "Queued")
    await until(app, ALL_COMPLETE)
    first = await service.process()
    assert machine.path(f"/proc/{first}").stat().st_uid == int(await machine.run("id", "--user", "crm-sync"))
    [level] = re.findall(r"exposure level for .*: ([\d.]+)", await machine.run("systemd-analyze", "security", "crm-sync.service"))
    assert float(level) <= 1.5

    # After an upgrade the worker is a new one, but the configuration is unchanged.
    await service.install(deb)
    await service.shows("StatusText", "delivering to brevo")
    assert (await service.show("ActiveState"), await service.process() != first) == ("active", True)
    assert KEY in settings.read_text()
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
    await until(app, ALL_COMPLETE)

    await machine.run("dpkg", "--purge", "crm-sync")
    assert not machine.path(FOLDER).exists()
    assert not machine.path("/usr/lib/crm-sync").exists()
    assert await app.fetchval("SELECT count(*) FROM crm_sync.workers") == 0
