"""Wheel and sdist, built once per test process, and the tools that check a release."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = ROOT / ".requirements"
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
# Most modules of an environment are imported by no test: compiling all of them takes longer than installing them.
INSTALL = ("install", "--no-compile")
TIMEOUT_S = 300


@cache
def built() -> tuple[Path, Path]:
    """(wheel, sdist)"""
    folder = Path(tempfile.mkdtemp(prefix="crm-sync-built-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make = [sys.executable, "-m", "hatchling", "build", "--directory", folder]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True, timeout=TIMEOUT_S)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def constraints(folder: Path) -> Path:
    """The locked versions without their hashes, because our own wheel has none."""
    path = folder / "constraints.txt"
    lines = (LOCKED / "dev.txt").read_text().splitlines()
    path.write_text("\n".join(line.removesuffix(" \\") for line in lines if line[:1].isalnum()) + "\n")
    return path


def tool(name: str) -> str:
    """A command that `make release-tools` installs; the test is skipped without it."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"there is no {name} in .venv: make release-tools")
    return str(path)


def module(name: str) -> None:
    """Skips the test if `make release-tools` has not installed it."""
    if find_spec(name) is None:
        pytest.skip(f"there is no {name} in .venv: make release-tools")


def ran(*command: object, cwd: Path, **env: str) -> str:
    """Returns its output. This checkout is not on its path."""
    bare = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(cwd), "LANG": "C.UTF-8", **_network()}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**bare, **env}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout.strip()


def _network() -> dict[str, str]:
    """How this machine reaches a package index."""
    names = ("PIP_", "UV_", "SSL_", "REQUESTS_")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {name: value for name, value in os.environ.items() if name.startswith(names) or name.upper() in proxies}
