"""The driver's connection, changed to look up built-in types once per process instead of once per connection, and to escape what
the database cannot store (`crm_sync.postgres.escaping`).

For each array type in a statement, asyncpg asks the server for its element type: 8 to 12 ms of server time and three round trips
per connection (PostgreSQL 18, asyncpg 0.32). Built-in types have the same OIDs in every database and version.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import asyncpg

from crm_sync.postgres.escaping import escaped, storable_in

FIRST_NOT_BUILT_IN = 10_000  # FirstGenbkiObjectId of PostgreSQL's access/transam.h: OIDs below it are assigned by hand


class _Statement(NamedTuple):
    """Stands for the statement that asks. A name says that it displaced no other statement."""

    name: str = "not prepared"


class Connection(asyncpg.Connection):
    _built_in: ClassVar[dict[int, Any]] = {}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._storable = storable_in(self.get_settings().server_encoding)

    async def _execute(self, statement: str, arguments: Sequence[Any], *more: Any, **options: Any) -> Any:
        """Overrides the driver's method: runs a statement."""
        if self._storable is not None:
            arguments = [escaped(argument, self._storable) for argument in arguments]
        return await super()._execute(statement, arguments, *more, **options)  # type: ignore[misc]  # as below

    async def _introspect_types(self, typeoids: Sequence[int], *arguments: Any) -> tuple[list[Any], Any]:
        """Overrides the driver's method: the types of a statement, and the statement that asked for them."""
        if all(oid in self._built_in for oid in typeoids):
            return [self._built_in[oid] for oid in typeoids], _Statement()
        types, statement = await super()._introspect_types(typeoids, *arguments)  # type: ignore[misc]  # the stubs have only what is public
        by_oid = {one["oid"]: one for one in types}
        self._built_in.update({oid: one for oid, one in by_oid.items() if oid < FIRST_NOT_BUILT_IN and _has_scalars(one, by_oid)})
        return types, statement


def _has_scalars(one: Mapping[str, Any], by_oid: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether it is an array whose elements the driver can read without further rows."""
    element = by_oid.get(one["elemtype"] or 0)
    return element is not None and element["kind"] == b"b" and not element["elemtype"]
