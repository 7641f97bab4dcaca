"""Runs a random walk on a real database: hypothesis calls its steps, which are not asynchronous, so they share a runner."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from crm_sync.postgres.pool import Database
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.schema import read_schema
from tests.roles import as_worker


@dataclass(frozen=True)
class Ground:
    """database: with a worker's role. app: the application's connection. table: for Brevo."""

    runner: asyncio.Runner
    database: Database
    app: asyncpg.Connection
    table: LaneTable


@contextmanager
def on_ground(url: str) -> Iterator[Ground]:
    with asyncio.Runner() as runner:
        database = Database(as_worker(url), size=1)
        runner.run(database.__aenter__())
        app = runner.run(asyncpg.connect(url))
        try:
            yield Ground(runner, database, app, runner.run(read_schema(database)).lanes["brevo"])
        finally:
            runner.run(app.close())
            runner.run(database.__aexit__())


def walk(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    how = settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=how)
