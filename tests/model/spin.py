"""Runs Spin on one configuration: a verifier is generated, compiled and run in its own folder, with bounds."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.model.configurations import FAULTS, Configuration

MODEL = Path(__file__).with_name("bell.pml")
TOOLS = {"spin": "spin", "gcc": "gcc"}  # and their packages in Debian
DEPTH = 1_000_000  # steps of one run
TRAIL_LINES = 60

# Of each state a hash is kept, of 96 bits: the chance that two states of a search are taken for one is nil.
HASHED = "-DHC4"
# Until its table has over 2^32 slots, a verifier takes a hash of 32 bits: of two million states it misses a thousand.
NARROW, WIDE = "hasher = d_sfh;", "hasher = d_hash;"
SMALL_MB, LARGE_MB = 1500, 14000
SMALL_TIMEOUT_S = 300
LARGE_TIMEOUT_S = 3600


class ModelError(RuntimeError):
    """A tool is missing, or the model is not valid Promela."""


@dataclass(frozen=True, slots=True)
class Result:
    """fault: what was found. reason: why the search ended before it had seen every state. trail: the last
    steps before the fault.
    """

    states: int
    seconds: float
    fault: str | None
    reason: str | None = None
    trail: str = ""

    def verdict(self, expected: str | None) -> tuple[bool, str]:
        """Whether it is as expected, and in words."""
        if self.fault is not None:
            if self.fault == expected:
                return True, f"found: {self.fault}"
            return False, f"FOUND: {self.fault}" + (f", and not that {expected}" if expected else "")
        if self.reason is not None:
            return False, f"NOT FINISHED: {self.reason}"
        return (True, "holds") if expected is None else (False, f"NOT FOUND: {expected}")


def missing_tools() -> str | None:
    """What to install, in a sentence; None if nothing."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return f"{' and '.join(missing)} cannot be found: apt-get install {' '.join(missing)}" if missing else None


def check(configuration: Configuration, *, timeout_s: float | None = None, kept: str = HASHED) -> Result:
    """kept: what of each state, as the verifier's compiler takes it. Raises ModelError."""
    with tempfile.TemporaryDirectory(prefix="crm-sync-model-") as name:
        folder = Path(name)
        shutil.copy(MODEL, folder)
        defines = [f"-D{switch}" for switch in configuration.switches.split()]
        _run(["spin", "-a", *defines, MODEL.name], folder)
        verifier = folder / "pan.c"
        verifier.write_text(with_wide_hash(verifier.read_text()))
        # A fault is found before an optimising compiler has finished.
        effort = "-O2" if configuration.large else "-O0" if configuration.fault else "-O1"
        memory = f"-DMEMLIM={LARGE_MB if configuration.large else SMALL_MB}"
        _run(["gcc", "-w", "-DSAFETY", "-DVECTORSZ=2048", effort, memory, kept, "-o", "pan", "pan.c"], folder)
        limit_s = timeout_s or (LARGE_TIMEOUT_S if configuration.large else SMALL_TIMEOUT_S)
        command = ["./pan", f"-m{DEPTH}", f"-w{24 if configuration.large else 22}"]
        try:
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            return Result(0, limit_s, None, f"it takes over {limit_s:g} s")
        result = read(run.stdout + run.stderr)
        if result.fault is None or result.fault == configuration.fault:
            return result
        steps = _run(["spin", "-t", "-p", "-g", *defines, MODEL.name], folder)
        return Result(result.states, result.seconds, result.fault, trail="\n".join(steps.splitlines()[-TRAIL_LINES:]))


def with_wide_hash(verifier: str) -> str:
    """The source of a verifier that hashes states to 96 bits. Raises ModelError."""
    if verifier.count(NARROW) != 1:
        raise ModelError(f"this version of Spin chooses its hash in another way: {NARROW} is not once in its verifier")
    return verifier.replace(NARROW, WIDE)


def read(output: str) -> Result:
    """The output of a verifier. Raises ModelError if it is not a result."""
    found = {
        name: re.search(pattern, output)
        for name, pattern in {
            "states": r"([\d.e+]+) states, stored",
            "seconds": r"elapsed time ([\d.]+)",
            "errors": r"errors: (\d+)",
        }.items()
    }
    if found["errors"] is None or found["states"] is None:
        raise ModelError(f"the verifier gave no result: {output[-500:]}")
    states, seconds = round(float(found["states"][1])), float(found["seconds"][1]) if found["seconds"] else 0.0
    if int(found["errors"][1]):
        told = re.search(r"pan:\d+: (.*)", output)
        text = told[1] if told else output[-500:]
        return Result(states, seconds, next((fault for sign, fault in FAULTS.items() if sign in text), text))
    if "max search depth too small" in output:
        return Result(states, seconds, None, f"a run has over {DEPTH:,} steps")
    if "Search not completed" in output:
        return Result(states, seconds, None, "the memory it may have is used up")
    return Result(states, seconds, None)


def _run(command: list[str], folder: Path) -> str:
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SMALL_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise ModelError(missing_tools() or f"{command[0]} cannot be run") from None
    except subprocess.TimeoutExpired:
        raise ModelError(f"{command[0]} takes over {SMALL_TIMEOUT_S} s") from None
    if run.returncode != 0:
        raise ModelError(f"{command[0]} failed: {(run.stdout + run.stderr)[-1000:]}")
    return run.stdout
