"""Two versions of the worker on one database, as in a rolling upgrade: the previous one next to the current one."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.real_crms import complete
from tests.faults.real_worker import LINE_UP, assert_kept, working
from tests.harness import TIMEOUT_S, until
from tests.process import environment
from tests.tiers import slow

PEOPLE = 2000


def git(*arguments: str) -> bytes:
    """Its output, empty if it fails."""
    if shutil.which("git") is None:
        return b""
    return subprocess.run(["git", *arguments], cwd=Path.cwd(), capture_output=True, check=False).stdout


@pytest.fixture
def version_before(tmp_path) -> Path:
    """The tree of the newest release, or if there is none, of the last but one change to the worker.

    Before the first release, migrations may change in place: then earlier trees are not versions that anyone uses.
    """
    tag = git("describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    changes = git("log", "--format=%H", "-2", "--", "worker", "sql").decode().split()
    commit = tag or (changes[1] if len(changes) > 1 else "")
    archive = git("archive", commit, "worker", "sql") if commit else b""
    if not archive:
        pytest.skip("no history of an earlier version: not a git clone, or a shallow one")
    if not tag and git("diff", "--name-only", commit, "HEAD", "--", "sql/migrations"):
        pytest.skip("there is no release, and the last change was one of a migration")
    subprocess.run(["tar", "-x", "-C", tmp_path], input=archive, check=True)
    if not (tmp_path / "worker" / "crm_sync").is_dir():
        pytest.skip("the package had another name then")
    return tmp_path / "worker"


@slow
async def test_two_versions_share_the_work_and_send_nothing_twice(app, url, brevo, version_before):
    older = environment(url, brevo) | {"PYTHONPATH": str(version_before)}
    async with working(older, fresh=True) as before, working(environment(url, brevo)) as today:
        await before.opened()
        await today.opened()
        for part in range(4):
            await app.execute(LINE_UP.format(crm="brevo"), f"{part}.", PEOPLE // 4)
        await until(app, complete("brevo"))
        await until(app, "count(*) = 2 FROM crm_sync.workers")
        # A worker tells what it has finished after that is committed.
        async with asyncio.timeout(TIMEOUT_S):
            while before.delivered() + today.delivered() < PEOPLE:  # noqa: ASYNC110 (a log has no events)
                await asyncio.sleep(0.01)
    shares = before.delivered(), today.delivered()
    print(f"\ndelivered by the version before: {shares[0]}, by today's: {shares[1]}")
    assert sum(shares) == PEOPLE
    assert all(shares), "both took part"
    await assert_kept(app, "brevo", brevo, twice=0, attempts=1, logs=[before.log, today.log])
