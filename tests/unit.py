"""The units that `crm-sync systemd` prints, before the eyes of systemd-analyze. Part of `make check`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 30
# Tenths; systemd calls up to 2.0 "OK".
MOST_EXPOSED = 15


def main() -> int:
    if shutil.which("systemd-analyze") is None:
        print("Unit: not looked at, for there is no systemd-analyze here.")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        units = [write(Path(folder)), write(Path(folder), "crm-sync-console", "--console")]
        complaints = "".join(verify(unit) or exposure(unit) for unit in units)
    print(complaints or "Units: systemd-analyze has nothing to say against them.")
    return 1 if complaints else 0


def write(folder: Path, name: str = "crm-sync", *options: str) -> Path:
    """A unit as it is printed, as a file under the name that systemd wants."""
    command = Path(sys.executable).with_name("crm-sync")
    path = folder / f"{name}.service"
    path.write_text(
        subprocess.run([command, "systemd", *options], capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout
    )
    return path


def verify(unit: Path) -> str:
    """What is wrong in it; empty if nothing is. For a key that it does not know, systemd-analyze says so and exits with 0."""
    answer = _analyze("verify", "--man=no", unit)
    return answer.stderr or (f"systemd-analyze verify: {answer.returncode}" if answer.returncode else "")


def exposure(unit: Path) -> str:
    """What it leaves open, where that is too much; else empty."""
    answer = _analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", unit)
    return answer.stdout + answer.stderr if answer.returncode else ""


def _analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


if __name__ == "__main__":
    sys.exit(main())
