"""Graphile Worker: Node, node-postgres. Installed from the package registry into a temporary folder, if npm is available."""

import asyncio
import functools
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.bench.peers.measuring import drain_rate, latency_samples, worker_url
from tests.bench.sink import Sink

NAME = "graphile-worker"
WORKER = Path(__file__).with_name("worker_graphile.mjs")
UNFINISHED = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)"
ENQUEUE = "SELECT graphile_worker.add_job('deliver', json_build_object('key', $1::text))"
# As its own performance test fills the queue.
ENQUEUE_MANY = """
    SELECT 1
    FROM graphile_worker.add_jobs(
        ARRAY(SELECT json_populate_recordset(NULL::graphile_worker.job_spec, $1::json))
    )
"""
ENQUEUE_BATCH = 5_000

# Two releases with the same speed: the newer one needs a newer Node.
NEWEST = "0.18.0"
NEWEST_NEEDS_NODE = (22, 18)
FOR_OLDER_NODE = "0.17.3"
INSTALL_TIMEOUT_S = 120
MIGRATION_TIMEOUT_S = 60

# The guide's starting point. 10 emptied the queue faster than the 24 of its performance test, made for more cores (3,300 jobs/s
# against 2,900), and as fast in batches; a connection for each and one to listen, as there.
CONCURRENT_JOBS = 10
NORMAL = {"concurrentJobs": CONCURRENT_JOBS, "maxPoolSize": CONCURRENT_JOBS + 1}
# A local queue of 2,000 was faster than the 500 of its performance test (30,000 jobs/s against 25,000). Delays of 0 as there: 250
# was no faster.
BATCHED = NORMAL | {"localQueue": {"size": 2_000}, "completeJobBatchDelay": 0, "failJobBatchDelay": 0}


class UnavailableError(RuntimeError):
    """Node, npm or the registry is not available."""


@dataclass(frozen=True)
class Installation:
    node: str
    worker: Path
    version: str
    # The folder is removed with this object, at the latest when the process ends.
    folder: tempfile.TemporaryDirectory[str]


@functools.cache
def installation() -> Installation:
    """Installs it once per process. The worker's program is next to it, where Node looks for packages."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise UnavailableError("needs node and npm")
    folder = tempfile.TemporaryDirectory(prefix="crm-sync-graphile-")
    try:
        release = NEWEST if _node_version(node) >= NEWEST_NEEDS_NODE else FOR_OLDER_NODE
        # Without its own manifest, npm would install into a parent folder that has one.
        Path(folder.name, "package.json").write_text('{"private": true}', encoding="utf-8")
        package = f"graphile-worker@{release}"
        # No audit and no funding messages: the registry is asked only for what is needed. No package scripts are run.
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package]
        subprocess.run(command, cwd=folder.name, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise UnavailableError(f"npm could not install it: {_reason(error)}") from error
    return Installation(node, Path(shutil.copy(WORKER, folder.name)), release, folder)


def unavailable() -> str | None:
    """Why it cannot be measured here, or None."""
    try:
        installation()
    except UnavailableError as error:
        return str(error)
    return None


def version() -> str:
    return installation().version


async def drain(database_url: str, jobs: int = 20_000, *, batched: bool = False) -> float:
    node, program = await install(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        for start in range(0, jobs, ENQUEUE_BATCH):
            keys = range(start, min(start + ENQUEUE_BATCH, jobs))
            specifications = [{"identifier": "deliver", "payload": {"key": str(key)}} for key in keys]
            await connection.execute(ENQUEUE_MANY, json.dumps(specifications))
    finally:
        await connection.close()
    command = [node, program, "drain", worker_url(database_url), _preset(batched), str(jobs)]
    return await drain_rate(command, database_url, jobs, UNFINISHED)


async def latency(database_url: str, sink: Sink, samples: int = 200, *, batched: bool = False) -> list[float]:
    node, program = await install(database_url)
    connection = await asyncpg.connect(database_url)
    try:

        async def enqueue(key: str) -> int:
            async with connection.transaction():
                await connection.execute(ENQUEUE, key)
                # Read before the COMMIT, which leaving the block sends.
                return time.perf_counter_ns()

        command = [node, program, "latency", worker_url(database_url), _preset(batched), sink.url]
        return await latency_samples(command, sink, enqueue, samples)
    finally:
        await connection.close()


async def install(database_url: str) -> tuple[str, str]:
    """Creates its schema in this database. Returns Node, and the worker's program."""
    installed = await asyncio.to_thread(installation)
    command = [installed.node, str(installed.worker), "install", database_url]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=MIGRATION_TIMEOUT_S)
    return installed.node, str(installed.worker)


def _preset(batched: bool) -> str:
    return json.dumps(BATCHED if batched else NORMAL)


def _node_version(node: str) -> tuple[int, int]:
    output = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
    major, minor, *_ = output.strip().removeprefix("v").split(".")
    return int(major), int(minor)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return error.stderr.decode(errors="replace").strip()[-200:]
    return str(error)
