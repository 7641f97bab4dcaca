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
from crm_sync.sandbox.postgres import Server

# Roles belong to the whole server, which may not be ours.
WORKER, PASSWORD = f"crm_sync_worker_{os.getpid()}", "password-of-the-worker"
CONSOLE = f"crm_sync_console_{os.getpid()}"
_created: set[str] = set()


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
    make_worker(url)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA crm_sync FROM PUBLIC")
        owner.execute(printed(url, WORKER, **settings)[0].encode())


def make_worker(url: str) -> None:
    """The role of the workers, on the server of this database, without rights."""
    with psycopg.connect(url, autocommit=True) as owner:
        if not _exists(owner, WORKER):
            _create(owner, WORKER)


def granted(url: str, name: str, *options: str, **settings: str) -> str:
    """A new role with exactly the rights that the command prints, none from PUBLIC. Returns its URL."""
    its_url = nobody(url, name)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        owner.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database_of(url))))
        owner.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA crm_sync FROM PUBLIC")
        owner.execute(printed(url, *options, name, **settings)[0].encode())
    return its_url


def nobody(url: str, name: str) -> str:
    """A new role without rights. Returns its URL. It stays until the next of this name, because to take rights away takes longer
    than to drop the database that they are in.
    """
    with psycopg.connect(url, autocommit=True) as owner:
        if _exists(owner, name):
            role = sql.Identifier(name)
            try:
                owner.execute(sql.SQL("DROP ROLE {}").format(role))
            except psycopg.errors.DependentObjectsStillExist:  # the same test has made one of this name before
                owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))
        _create(owner, name)
    return signed_in(url, name)


def signed_in(url: str, name: str) -> str:
    parts = urlsplit(url)
    user = name.replace(" ", "%20").replace('"', "%22")
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))


def admit(server: Server, url: str, name: str) -> str:
    """To a copy of a database in which it has its rights: those on the database as a whole are not copied. Returns its URL."""
    database, role = sql.Identifier(database_of(url)), sql.Identifier(name)
    with psycopg.connect(server.url(), autocommit=True) as owner:
        owner.execute(
            sql.SQL("REVOKE ALL ON DATABASE {0} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO {1}").format(database, role)
        )
    return signed_in(url, name)


def database_of(url: str) -> str:
    return urlsplit(url).path[1:]


def _exists(owner: psycopg.Connection, name: str) -> bool:
    return owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None


def _create(owner: psycopg.Connection, name: str) -> None:
    owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORD))
    _created.add(name)


def forget_roles(url: str) -> None:
    """Drops the roles from the server, after the databases that refer to them are gone."""
    with psycopg.connect(url, autocommit=True) as owner:
        for name in _created:
            owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


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
