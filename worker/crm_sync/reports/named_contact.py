"""How a person names one contact to a command: by address or by key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from crm_sync.postgres.pool import Database
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.one_contact import find, find_key

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class NamedContact:
    """Either email or key is set."""

    email: str | None
    key: str | None

    async def find(self, database: Database, table: LaneTable) -> list[Any]:
        """The keys of the contacts that are meant. Raises as find and find_key do."""
        if self.key is not None:
            return await find_key(database, table, self.key)
        return await find(database, table, self.email or "")

    @property
    def absent(self) -> str:
        """Says that there is none."""
        if self.key is not None:
            return f"No contact has the key {self.key}."
        return f"No contact has the address {(self.email or '').strip()}."


def not_blank(text: str, hint: str, what: str) -> None:
    """An empty variable in a script means no contact, not the whole table. Raises click.BadParameter."""
    if not text.replace("\0", "").strip():
        raise click.BadParameter(f"it is empty: name {what}", param_hint=hint)


def named_contact(function: Function) -> Function:
    """Adds the options --email and --key. The command gets a NamedContact as `contact`."""

    @click.option("--email", metavar="ADDRESS", help="The contact's address, in any case.")
    @click.option("--key", metavar="KEY", help="The contact's key, which is found faster than an address.")
    @wraps(function)
    def with_contact(*arguments: Any, email: str | None, key: str | None, **options: Any) -> Any:
        if (email is None) == (key is None):
            raise click.UsageError("Name the contact with either --email ADDRESS or --key KEY.")
        if email is not None:
            not_blank(email, "--email", "an address")
        if key is not None:
            not_blank(key, "--key", "a key")
        return function(*arguments, contact=NamedContact(email, key), **options)

    return with_contact  # type: ignore[return-value]
