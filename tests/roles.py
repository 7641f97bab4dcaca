"""Every worker in the tests has exactly the rights that `crm-sync grants` prints. The application is the owner."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from click.testing import CliRunner
from psycopg import sql

from crm_sync.adoption import adopt as adoption
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.commands.grants import grants
from crm_sync.crm.registry import OWN

# Roles belong to the whole server, which may not be ours.
WORKER, PASSWORD = f"crm_sync_worker_{os.getpid()}", "password-of-the-worker"


def for_all(request: AdoptionRequest) -> AdoptionRequest:
    """Like the commands: if no CRM is named, all built-in ones."""
    return replace(request, default_crms=tuple(OWN))


def adopt(url: str, request: AdoptionRequest | None = None, *told: Any, **how: Any) -> list[str]:
    """Like the command."""
    return adoption.adopt(url, for_all(request or AdoptionRequest()), *told, **how)


def migrate(url: str, request: AdoptionRequest | None = None) -> None:
    """Migrates a database, and grants workers their rights. Its copies have them too."""
    adopt(url, request)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    let_in(url)


def let_in(url: str, **settings: str) -> None:
    """To be repeated after a new CRM, or for another MAPPING_FILE. No rights come from PUBLIC."""
    with psycopg.connect(url, autocommit=True) as owner:
        if not owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [WORKER]).fetchone():
            owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(WORKER), PASSWORD))
        owner.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA crm_sync FROM PUBLIC")
        owner.execute(printed(url, WORKER, **settings)[0].encode())


def forget_worker(url: str) -> None:
    """Drops the role from the server, after the databases that refer to it are gone."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(WORKER)))


def as_worker(url: str) -> str:
    """The same database for the worker's role. The URL of any role but the owner is unchanged."""
    parts = urlsplit(url)
    owners = (None, "postgres", urlsplit(os.environ.get("TEST_DATABASE_URL", "")).username)
    if parts.username not in owners:
        return url
    return urlunsplit(parts._replace(netloc=f"{WORKER}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))


def printed(url: str, *arguments: str, **settings: str) -> tuple[str, str]:
    """The standard output and error of `crm-sync grants`."""
    # In a thread, because it runs its own event loop, and so do the tests.
    with ThreadPoolExecutor(1) as thread:
        env = {"DATABASE_URL": url, **settings}
        answer = thread.submit(CliRunner().invoke, grants, arguments, env=env, catch_exceptions=False).result()
    assert answer.exit_code == 0, answer.output
    return answer.stdout, answer.stderr
