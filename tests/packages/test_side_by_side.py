"""A worker of the previous release and one of this release on one database: what docs/how-to/upgrade.md promises.

It begins with the second release. Until then, and for other versions, the previous one can be named: PREVIOUS=v0.1.0
.venv/bin/pytest tests/packages/test_side_by_side.py
"""

import os
import re
import subprocess
import sys
import tarfile
from io import BytesIO

import pytest

from crm_sync import __version__
from tests.harness import ALL_COMPLETE, until
from tests.packages.built import ROOT
from tests.process import environment, process, said
from tests.tiers import slow

pytestmark = slow

FLIPS = "UPDATE contacts SET brevo_sync_status = 'Queued'"
CLAIMED = "count(DISTINCT claim >> 32) = 2 FROM claims"
NOTE_CLAIMS = """
    CREATE TABLE claims (claim bigint);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN INSERT INTO public.claims VALUES (NEW.brevo_claimed_by); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER UPDATE ON contacts FOR EACH ROW
    WHEN (NEW.brevo_claimed_by IS DISTINCT FROM OLD.brevo_claimed_by AND NEW.brevo_claimed_by IS NOT NULL)
    EXECUTE FUNCTION note();
"""


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def previous():
    """The tag of the newest release before this version."""
    if named := os.environ.get("PREVIOUS"):
        return named
    tags = re.findall(r"^v(\d+)\.(\d+)\.(\d+)$", git("tag", "--list", "v*").decode(), re.MULTILINE)
    ours = [*map(int, re.findall(r"\d+", __version__)[:3])]
    older = [number for tag in tags if (number := [*map(int, tag)]) < ours]
    if not older:
        pytest.skip("there is no release before this version here")
    return "v{}.{}.{}".format(*max(older))


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """A folder with the sources of that release."""
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(git("archive", previous(), "worker", "sql"))) as archive:
        archive.extractall(folder, filter="data")
    return folder


async def test_both_deliver_and_each_contact_is_delivered_by_one(app, url, brevo, older):
    await app.execute(NOTE_CLAIMS)
    await app.execute("INSERT INTO contacts (email) SELECT n || '@example.com' FROM generate_series(1, 400) AS n")
    small = {"BREVO_SYNC_SCHEDULER_BATCH_SIZE": "2", "BREVO_BATCH_SIZE": "1"}
    before = environment(url, brevo, PYTHONPATH=str(older / "worker"), **small)
    async with process(before, fresh=True) as first, process(environment(url, brevo, **small)) as second:
        await said(first, "session_opened")
        await said(second, "session_opened")
        while not await app.fetchval(f"SELECT {CLAIMED}"):
            await app.execute(FLIPS)
            await until(app, ALL_COMPLETE)
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_processing_error IS NOT NULL") == 0
    assert len(brevo.contacts) == 400


def test_the_older_one_is_what_runs(older):
    code = "import crm_sync; print(crm_sync.__file__)"
    env = {"PYTHONPATH": str(older / "worker")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(older))
