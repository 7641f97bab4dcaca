"""A transaction whose connection is lost: the first error counts."""

import asyncpg
import pytest

from crm_sync.postgres.transactions import transaction


async def test_where_the_server_ends_the_connection_that_is_said_and_not_that_a_rollback_failed(app):
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)):
        async with transaction(app):
            await app.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def loses_and_fails(connection):
    async with transaction(connection):
        connection.terminate()
        raise LookupError


async def test_an_error_of_the_caller_after_that_is_his(app):
    with pytest.raises(LookupError):
        await loses_and_fails(app)
