"""The example plug-in, as a separate package next to the wheel, in an environment with nothing else."""

import shutil
import subprocess
import sys

from tests.packages.built import INSTALL, PIP, ROOT, TIMEOUT_S, built, constraints, ran
from tests.tiers import slow

pytestmark = slow
EXAMPLE = ROOT / "docs" / "examples" / "listmonk"
REGISTERED = "from crm_sync.crm.registry import known; import crm_sync.testing; print(*known(), known()['listmonk'].asked[0])"


def test_a_plug_in_is_found_beside_the_wheel_and_keeps_the_contract(tmp_path):
    wheel, _ = built()
    make = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path / "plug-in")
    subprocess.run(make, cwd=EXAMPLE, check=True, capture_output=True, timeout=TIMEOUT_S)
    [plug_in] = (tmp_path / "plug-in").glob("*.whl")
    ran(sys.executable, "-m", "venv", "--without-pip", "bare", cwd=tmp_path)
    into = tmp_path / "bare" / "bin" / "python"
    install = (*PIP, "--python", into, *INSTALL, "--constraint", constraints(tmp_path))
    ran(*install, wheel, plug_in, cwd=tmp_path)

    # Without pytest: importing the kit does not need it.
    assert ran(into, "-c", REGISTERED, cwd=tmp_path) == "hubspot brevo mautic n8n listmonk listmonk_url"
    said = ran(into.with_name("crm-sync"), "settings", cwd=tmp_path, DATABASE_URL="postgresql://crm_worker@localhost/app")
    assert "LISTMONK_URL" in said

    ran(*install, "pytest", cwd=tmp_path)
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    assert " passed" in ran(into, "-m", "pytest", "-q", "tests", cwd=tmp_path)
