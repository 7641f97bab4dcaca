"""Which indexes of the contacts table find an address, and the statements that use them."""

from collections.abc import Mapping
from enum import StrEnum

from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query

MANY = 100_000  # contacts: reading more for an address, about 50 ms, is worth a note, and is not done unasked where a page waits


class AddressIndex(StrEnum):
    """LOWER: on lower(email). ANY_CASE: on a column whose type ignores case. EXACT: on another: it finds an address as it is
    written, or in lower case, and no other.
    """

    LOWER = "in small letters"
    ANY_CASE = "in any case"
    EXACT = "as it is"

    @property
    def statement(self) -> str:
        """That looks for an address with it."""
        return "find_by_lower_address" if self is AddressIndex.LOWER else "find_by_exact_address"

    @property
    def ignores_case(self) -> bool:
        """So what it does not find is not there, except with whitespace around it."""
        return self is not AddressIndex.EXACT


async def address_indexes(database: Database, column: str) -> list[AddressIndex]:
    """The one that finds most first. column: by its name, without quotes. Raises as Database.fetch does."""
    kinds = {row["kind"] for row in await database.fetch(query("list_address_indexes"), column)}
    return [kind for kind in AddressIndex if kind in kinds]


def missing_index(variables: Mapping[str, str]) -> str:
    """The SQL that makes the one that finds an address in any case. variables: `contacts_name` and `email`, for SQL."""
    return f"CREATE INDEX CONCURRENTLY ON {variables['contacts_name']} (lower({variables['email']}))"
