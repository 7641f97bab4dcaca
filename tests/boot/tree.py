"""A Debian or Ubuntu with systemd in a folder, the same release as this machine, and crm-sync as a folder to add.

BOOT_TREE names a folder that keeps the tree between runs: making it takes about a minute. Nothing is written to it after that,
because each machine boots with a separate layer on top.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# procps: the unit reloads with /bin/kill, which only the smallest Debian lacks. A container is made from the tree too, and needs
# python3-venv and ca-certificates.
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,python3-venv,ca-certificates"
NEEDED = {"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap", "nsenter": "util-linux"}
CAP_SYS_ADMIN = 1 << 21
MIRROR_TIMEOUT_S = 20
MAKE_TIMEOUT_S = 900
INSIDE = Path("/opt/crm-sync")
# Where this machine has the Python that runs the tests, and its installed packages.
PYTHON, PACKAGES_INSIDE = Path("/opt/python"), Path("/opt/packages")


class NotHereError(Exception):
    """What this machine lacks to boot a systemd."""


@dataclass(frozen=True, slots=True)
class Tree:
    """folder: the root of the machine. shown: read-only folders of this machine, by their path in the other."""

    folder: Path
    shown: dict[Path, Path]


@contextmanager
def tree(work: Path) -> Iterator[Tree]:
    """work: a folder for the files made; empty again afterwards, unless BOOT_TREE keeps the tree. Raises NotHereError."""
    _look_for_tools()
    kept = os.environ.get("BOOT_TREE")
    folder = Path(kept) if kept else work / "tree"
    installation = work / "crm-sync"
    try:
        with _alone(folder):
            if not (folder / "made").exists():
                _make(folder)
        _install(installation)
        shown = {INSIDE: installation, PACKAGES_INSIDE: Path(sysconfig.get_path("purelib"))}
        if not _distributed():
            shown[PYTHON] = Path(sys.base_prefix)
        yield Tree(folder, shown)
    finally:
        shutil.rmtree(installation, ignore_errors=True)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """If a tree is kept, another process may be making it too."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _look_for_tools() -> None:
    for tool, package in NEEDED.items():
        if shutil.which(tool) is None:
            raise NotHereError(f"there is no {tool} here (it comes with the package {package})")
    capabilities = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if os.geteuid() != 0 or not int(capabilities.split()[1], 16) & CAP_SYS_ADMIN:
        raise NotHereError("booting a machine takes root, with all its rights")
    if shutil.which("apt-get") is None:
        raise NotHereError("there is no apt here, whose mirror the machine would come from")


def _make(folder: Path) -> None:
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    mirror = _mirror(release)
    shutil.rmtree(folder, ignore_errors=True)
    # Moved into place when it is complete.
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, unfinished, mirror]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MAKE_TIMEOUT_S)
        assert made.returncode == 0, f"debootstrap failed: {(made.stdout + made.stderr)[-1000:]}"
        (unfinished / "made").touch()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _mirror(release: str) -> str:
    """The mirror that apt uses for this release, once it has answered."""
    command = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    targets = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    mirrors = [words[2] for words in map(str.split, targets) if words[:2] == [release, "main"] and words[2].startswith("http")]
    if not release or not mirrors:
        raise NotHereError(f"apt has no mirror in the network for the release {release or 'of this machine'}")
    try:
        with urllib.request.urlopen(f"{mirrors[0].rstrip('/')}/dists/{release}/Release", timeout=MIRROR_TIMEOUT_S):  # noqa: S310 (of apt's mirror)
            return mirrors[0]
    except OSError as error:
        raise NotHereError(f"apt's mirror, which the machine would come from, cannot be reached: {error}") from error


def _install(folder: Path) -> None:
    """A virtual environment with this project as it is distributed. Its dependencies are those that these tests run with."""
    libraries = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", libraries, ROOT], check=True, timeout=120)
    (libraries / "tests-dependencies.pth").write_text(f"{PACKAGES_INSIDE}\n")
    programs = folder / "bin"
    programs.mkdir()
    home = Path("/usr/bin") if _distributed() else PYTHON / "bin"
    (folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    (programs / "python").symlink_to(home / "python3")
    command = programs / "crm-sync"
    command.write_text(f"#!{INSIDE}/bin/python\nfrom crm_sync.cli import main\n\nmain()\n")
    command.chmod(0o755)


def _distributed() -> bool:
    """Whether these tests run with the distribution's Python, which the tree has too."""
    return sys.base_prefix == "/usr"
