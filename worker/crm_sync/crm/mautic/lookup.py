"""Looks records up in Mautic, by one search for all contacts of a call."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.mautic.answers import email, judged, plain, records
from crm_sync.crm.mautic.login import Login
from crm_sync.errors import BatchRefusedError, OutageError

CONTACTS = "/api/contacts"
REFUSES_FROM = 5
_MAJOR = re.compile(r"([0-9]{1,3})\.")
PAGE = 50  # records in a search result: twice as many as are requested, and with all their fields below the largest body


class Lookup:
    """Every method raises LaneError. whole: with everything that Mautic shows about a contact.

    merges: whether an edit of one of several records with one identifier merges two of them. Mautic 4.x compares the record's own
    identifiers, whatever the edit changes; 5.0 and later refuse it with 422, if any identifier is enough to match.
    [mautic/mautic: LeadModel, checkForDuplicateContact, at 4.4.13; UniqueCustomFieldValidator, at 5.0.0]
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self.merges = True  # until an answer names a version

    async def with_ids(self, ids: Iterable[int], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        """The records with these ids."""
        return await self._search("id", [str(record) for record in ids], whole=whole)

    async def with_addresses(self, addresses: Collection[str], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        """The records with these addresses."""
        found = await self._search("email", addresses, whole=whole)
        strangers = holders(found).keys() - set(addresses)
        if "" in strangers or (strangers and len(found) >= PAGE):
            raise OutageError(Code.BROKEN_ANSWER, "Mautic answered a search by address with contacts that were not looked for")
        if len(found) >= PAGE:
            raise BatchRefusedError(Code.AMBIGUOUS, f"email: {PAGE} records of Mautic or more have such an address")
        return found

    async def with_values(self, field: str, values: Collection[str], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        """The records that have one of these values, quoted as in CSV, in a field."""
        found = await self._search(field, values, whole=whole)
        if len(found) >= PAGE:
            raise BatchRefusedError(Code.AMBIGUOUS, f"{field}: {PAGE} records of Mautic or more have such a value")
        return found

    async def first(self) -> Answer:
        """The answer that shows one contact, whichever it is."""
        answer = await self._ask({"limit": "1", "minimal": "1"})
        records(answer)
        return answer

    async def _search(self, column: str, values: Collection[str], *, whole: bool = False) -> Sequence[Mapping[str, Any]]:
        if not values:
            return []
        # Values are comma-separated; no searched address contains a comma, and other values are quoted.
        where = {"where[0][col]": column, "where[0][expr]": "in", "where[0][val]": ",".join(values)}
        shown = {"limit": str(PAGE), **({} if whole else {"minimal": "1"})}
        return records(await self._ask(where | shown), list(values))

    async def _ask(self, query: Mapping[str, str]) -> Answer:
        # A page can quote the whole query, or one of its addresses.
        looked_for = [value for text in query.values() for value in (text, *text.split(","))]
        answer = judged(await self._login.send("GET", CONTACTS, query=query), looked_for)
        if answer.status >= 400:
            said = quoted(plain(answer), looked_for)
            raise BatchRefusedError(Code.BROKEN_ANSWER, f"the search was refused ({answer.label}: {said})", retried=True)
        version = _MAJOR.match(answer.headers.get("Mautic-Version", ""))
        self.merges = version is None or int(version[1]) < REFUSES_FROM
        return answer


def holders(found: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Of these records the ids, by address."""
    held: dict[str, list[int]] = {}
    for record in found:
        held.setdefault(email(record) or "", []).append(int(record["id"]))
    return held
