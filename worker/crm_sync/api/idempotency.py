"""Idempotency-Key: a request repeated after a lost answer is executed once, and gets the first answer.

The keys are kept in the database for a day, so that this works across restarts and with several consoles. A process that dies
during a request leaves its key as begun. After a minute the request may be executed again, which is harmless, because flipping a
flipped contact does nothing.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crm_sync.errors import DeclinedError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

_KEY = re.compile(r"[!-~]{1,255}")


class KeyConflictError(DeclinedError):
    """The key cannot be used for this request."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(slots=True)
class Once:
    """answer: the answer to the first request; None: execute it now, and put the answer here."""

    answer: bytes | None
    replayed: bool


class Idempotency:
    """Raises as Database.fetch does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def once(self, caller: str, key: str, what: bytes) -> AsyncIterator[Once]:
        """what: everything in the request. Raises KeyConflictError. If the body of the context raises, the key is free again."""
        if not _KEY.fullmatch(key):
            raise KeyConflictError(422, "Idempotency-Key: expected 1 to 255 printable ASCII characters, without whitespace")
        # Neither the request nor the caller can be read from it.
        name = hashlib.sha256(f"{caller}\n{key}".encode()).digest()
        request = hashlib.sha256(what).digest()
        [row] = await self._database.fetch(query("begin_request"), name, request)
        if row["is_other"]:
            raise KeyConflictError(422, "this Idempotency-Key was used for another request within the last day")
        if row["answer"] is not None:
            yield Once(row["answer"], replayed=True)
            return
        if not row["is_ours"]:
            raise KeyConflictError(409, "the first request with this Idempotency-Key is still in progress: try again in a moment")
        once = Once(None, replayed=False)
        try:
            yield once
        except BaseException:
            await self._database.fetch(query("abandon_request"), name)
            raise
        if once.answer is not None:
            await self._database.fetch(query("end_request"), name, once.answer)
