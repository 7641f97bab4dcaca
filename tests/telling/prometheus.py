"""A real Prometheus from Debian on loopback, and its rules with durations short enough for a test."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from crm_sync.sandbox.postgres import free_port
from tests.telling.scrape import answered

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RULES_TEST = ROOT / "deploy" / "prometheus" / "rules_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "crm-sync.json"
MISSING = next(
    (f"there is no {tool} here (Debian's package prometheus)" for tool in ("prometheus", "promtool") if not shutil.which(tool)),
    "",
)

STEP_S = 1.0  # between two scrapes
PATIENCE_S = 120.0
# Each duration of the rules, in a live run: the shortest spans two scrapes.
SHORTER = {"1m": "3s", "2m": "4s", "5m": "5s", "10m": "8s", "15m": "10s", "1h": "10s", "24h": "8s", "7d": "2m"}
_DURATION = re.compile(r"(?<=for: )\w+$|(?<=\[)\w+(?=\])|(?<=offset )\w+", re.MULTILINE)
THRESHOLDS = {"> 900": "> 4", "< 900": "< 6"}  # in seconds

Labels = Mapping[str, str]


def shortened(rules: str) -> str:
    """Raises KeyError for a duration without a shorter one."""
    rules = _DURATION.sub(lambda match: SHORTER[match[0]], rules)
    for long, short in THRESHOLDS.items():
        assert long in rules, f"no rule has {long} any more"
        rules = rules.replace(long, short)
    return rules


class Prometheus:
    """The HTTP API of a running one. started: seconds since 1970."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.started = time.time()

    async def ask(self, path: str, **query: str) -> Any:
        """Raises AssertionError with its message if it refuses."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.address}/api/v1/{path}", params=query) as response,
        ):
            answer = await response.json()
        assert answer["status"] == "success", f"{query}: {answer.get('error')}"
        return answer["data"]

    async def over_the_run(self, query: str, step_s: float = STEP_S) -> list[dict[str, Any]]:
        """Each series of a query, from the start until now."""
        span = {"start": str(self.started), "end": str(time.time()), "step": str(step_s)}
        series: list[dict[str, Any]] = (await self.ask("query_range", query=query, **span))["result"]
        return series

    async def scrapes(self, targets: int) -> None:
        """Returns when it has scraped this many times."""
        async with asyncio.timeout(PATIENCE_S):
            while len((await self.ask("query", query="up == 1"))["result"]) < targets:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def firing(self) -> list[Labels]:
        return [alert["labels"] for alert in (await self.ask("alerts"))["alerts"] if alert["state"] == "firing"]

    async def until(self, holds: Callable[[Sequence[Labels]], bool], what: Callable[[], str]) -> None:
        """Returns when this holds for the alerts that fire."""
        firing: list[Labels] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds(firing := await self.firing()):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{what()}; firing are {[dict(one) for one in firing]}") from None


def matches(alert: Labels, wanted: Labels) -> bool:
    return wanted.items() <= alert.items()


@asynccontextmanager
async def running_prometheus(folder: Path, targets: Sequence[str]) -> AsyncIterator[Prometheus]:
    """Scrapes these every STEP_S, with the rules from deploy/, shortened."""
    (folder / "rules.yml").write_text(shortened(RULES.read_text()))
    step = f"{STEP_S:g}s"
    configuration = {
        "global": {"scrape_interval": step, "scrape_timeout": step, "evaluation_interval": step},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "crm-sync", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
        "log.level": "error",
    }
    process = await asyncio.create_subprocess_exec("prometheus", *(f"--{name}={value}" for name, value in options.items()))
    try:
        await answered(address, "/-/ready")
        prometheus = Prometheus(address)
        # The first scrape takes some seconds. Earlier counts are no increase to it, and the alert about missing workers fires
        # meanwhile, because its two minutes are seconds here.
        await prometheus.scrapes(len(targets))
        await prometheus.until(lambda firing: not firing, lambda: "something fires at the start")
        prometheus.started = time.time()
        yield prometheus
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
