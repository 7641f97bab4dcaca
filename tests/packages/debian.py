"""The Debian package, built once per test process."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.packages.built import ROOT, built

# It downloads, compiles and packs, next to other tests.
BUILD_TIMEOUT_S = 600
NEEDED = {"dh": "debhelper", "dpkg-buildpackage": "dpkg-dev", "apt-get": "apt"}


@cache
def package(folder: Path) -> Path:
    """The .deb; other build products are next to it. Skips the test if it cannot be built."""
    for tool, name in NEEDED.items():
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here (it comes with the package {name})")
    command = [ROOT / "deploy" / "build-deb", built()[0], folder]
    made = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert made.returncode == 0, (made.stdout + made.stderr)[-3000:]
    [deb] = folder.glob("*.deb")
    return deb
