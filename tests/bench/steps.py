"""Where the time of a single contact goes, from COMMIT to the request, for crm-sync and for the bare listener.

The marks take a few microseconds each, so a whole is a little more than the latency without them.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import bare_listener, ours
from tests.bench.figures import medians
from tests.bench.peers.measuring import worker_url
from tests.bench.sink import Sink

SAMPLES = 200
# By the mark with which each ends. The bare listener makes its request and writes it in one.
STEPS = {
    "notified": "from COMMIT to the notification",
    "claim sent": "until the claim is sent",
    "claimed": "until it is answered",
    "request made": "until the request is made",
    "written": "until it is written to the socket",
    "arrived": "until its first byte is read",
}


async def of_ours(database_url: str, sink: Sink) -> dict[str, float]:
    """Milliseconds of each step, medians."""
    with tempfile.TemporaryDirectory() as folder:
        run = (*_marked(folder), "ours")
        return _steps(folder, sink, await ours.latency(database_url, sink, SAMPLES, run=run))


async def of_the_limit(database_url: str, sink: Sink) -> dict[str, float]:
    """The same of the bare listener."""
    with tempfile.TemporaryDirectory() as folder:
        run = (*_marked(folder), "bare", worker_url(database_url), sink.url)
        return _steps(folder, sink, await bare_listener.latency(database_url, sink, SAMPLES, run=run))


def _marked(folder: str) -> tuple[str, ...]:
    return sys.executable, "-m", "tests.bench.marked", f"{folder}/marks"


def _steps(folder: str, sink: Sink, samples: Sequence[float]) -> dict[str, float]:
    marks = json.loads((Path(folder) / "marks").read_text(encoding="utf-8"))
    arrivals = [sink.arrivals[f"job{number}"] for number in range(len(samples))]
    return medians([_of_one(arrival - ms * 1e6, arrival, marks) for arrival, ms in zip(arrivals, samples, strict=True)])


def _of_one(commit: float, arrival: int, marks: Sequence[tuple[str, int]]) -> dict[str, float]:
    """By the first mark of each kind after the commit. A step begins with the mark before it."""
    ends: dict[str, float] = {}
    for name, moment in marks:
        if commit < moment < arrival:
            ends.setdefault(name, moment)
    ends["arrived"] = arrival
    known = [commit, *(ends[name] for name in STEPS if name in ends)]
    names = [name for name in STEPS if name in ends]
    return {STEPS[name]: (end - begin) / 1e6 for name, begin, end in zip(names, known, known[1:], strict=False)}


def rows(own: Mapping[str, float], limit: Mapping[str, float]) -> dict[str, tuple[str, str]]:
    """By step: both, in milliseconds."""
    return {step: tuple(f"{one[step]:.2f}" if step in one else "" for one in (own, limit)) for step in STEPS.values()}
