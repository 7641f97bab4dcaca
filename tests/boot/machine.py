"""A machine that systemd boots in a container, on this machine's network. Everything written there is discarded."""

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.boot.tree import Tree
from tests.harness import TIMEOUT_S

BOOT_TIMEOUT_S = 60.0
# Where systemd keeps its process tree with cgroup v1, both, or v2.
HIERARCHIES = ("systemd", "unified", ".")


class Machine:
    """leader: the process of its systemd, by this machine's numbering."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def path(self, place: str) -> Path:
        """A path on the machine, as seen from here."""
        return Path(f"/proc/{self._leader}/root{place}")

    def write(self, place: str, text: str, mode: int = 0o644) -> None:
        path = self.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    async def run(self, *command: str, code: int = 0) -> str:
        """Returns its output, from both streams. Fails unless the exit code is this one."""
        enter = ("nsenter", f"--target={self._leader}", "--all", "--wd=/")
        done = await asyncio.to_thread(
            subprocess.run, [*enter, *command], capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""},
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}: {said}"
        return said


@contextmanager
def booted(tree: Tree, work: Path) -> Iterator[Machine]:
    """work: a folder for its console. It is up when systemd says so."""
    name = f"crm-sync-{os.getpid()}"
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    console = work / "console"
    with told, console.open("w") as output, _own_cgroup(name) as cgroup:
        told.bind(str(work / "notify"))
        told.settimeout(BOOT_TIMEOUT_S)
        process = subprocess.Popen(
            _within(cgroup, _nspawn(name, tree)), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            # cgroup v2, as on every machine that boots normally: IPAddressDeny= needs it.
            env={**os.environ, "NOTIFY_SOCKET": told.getsockname(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )  # fmt: skip
        try:
            yield Machine(_leader(told, console))
        finally:
            _end(process)


def _nspawn(name: str, tree: Tree) -> list[str]:
    command = [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={tree.folder}", "--volatile=overlay", f"--machine={name}",
        "--register=no", "--notify-ready=yes", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe",
        # What IPAddressDeny= is made with.
        "--system-call-filter=bpf",
    ]  # fmt: skip
    # Otherwise it asks the systemd here for a unit.
    unit = [] if _systemd_runs_here() else ["--keep-unit"]
    return command + unit + [f"--bind-ro={here}:{there}" for there, here in tree.shown.items()]


def _systemd_runs_here() -> bool:
    return Path("/run/systemd/system").exists()


def _leader(told: socket.socket, console: Path) -> int:
    """Returns when the machine is up."""
    leader = ""
    try:
        while True:
            lines = told.recv(4096).decode().splitlines()
            for line in lines:
                leader = line.removeprefix("X_NSPAWN_LEADER_PID=") if re.match(r"X_NSPAWN_LEADER_PID=\d", line) else leader
            if "READY=1" in lines:
                return int(leader)
    except TimeoutError:
        raise AssertionError(f"the machine did not boot within {BOOT_TIMEOUT_S} s: {console.read_text()[-2000:]}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Pulls the plug: all processes end with its first one. A normal shutdown would wait for anything a test has left hanging."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    process.kill()
    process.wait()


@contextmanager
def _own_cgroup(name: str) -> Iterator[list[Path]]:
    """Where no systemd gives it a unit, systemd-nspawn makes its groups below the one it was started in, and leaves them there.

    So it is started in one of its own, gone afterwards. A folder for each hierarchy, none where systemd sees to it.
    """
    own: list[Path] = []
    for hierarchy in HIERARCHIES:
        parent = Path("/sys/fs/cgroup") / hierarchy
        if not _systemd_runs_here() and (parent / "cgroup.procs").exists():
            own.append(parent / name)
            own[-1].mkdir()
    try:
        yield own
    finally:
        for folder in own:
            for path, _, _ in os.walk(folder, topdown=False):
                Path(path).rmdir()


def _within(cgroup: Sequence[Path], command: Sequence[str]) -> list[str]:
    enter = 'while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'
    return ["sh", "-c", enter, "sh", *(str(folder / "cgroup.procs") for folder in cgroup), "--", *command]
