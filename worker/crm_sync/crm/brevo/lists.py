"""The lists in a row and in the setting, and which of them do not exist in Brevo."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crm_sync.crm.brevo.refusals import not_brevo, said, speaks_of_a_list, unknown_list
from crm_sync.crm.brevo.requests import Requests

KNOWN_S = 60.0  # before a missing list is looked up again
JOINED, LEFT = "listIds", "unlinkListIds"


class Lists:
    """of_all: the list that every delivered contact joins, if any."""

    def __init__(self, requests: Requests, of_all: int | None) -> None:
        self._requests = requests
        self._of_all = of_all
        self._missing_until: dict[int, float] = {}

    async def require(self) -> bool:
        """Raises RefusedError if the list of all does not exist, which it looks up. False if there is none.

        Brevo's message for a missing list is not documented, and a message about lists may be about one contact alone. Also from
        the contacts' rate limit.
        """
        if self._of_all is None:
            return False
        answer = await self._requests.look_at_list(self._of_all)
        if answer.status in (400, 404):
            raise unknown_list(self._of_all, answer)
        if answer.status != 200 or answer.get("id") != self._of_all:
            raise not_brevo(answer)
        return True

    async def look(self, ids: Iterable[int]) -> bool:
        """Looks up each of these. True if any was not found."""
        missing = False
        for one in ids:
            answer = await self._requests.look_at_list(one)
            if answer.status in (400, 404):
                self._missing_until[one] = time.monotonic() + KNOWN_S
                missing = True
        return missing

    def missing(self, members: Mapping[str, Any]) -> list[int]:
        """The lists in these members that were recently not found."""
        if not self._missing_until:
            return []
        now = time.monotonic()
        return [one for one in dict.fromkeys(named(members)) if self._missing_until.get(one, 0.0) > now]

    def there(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """These members without those lists."""
        missing = self.missing(members)
        if not missing:
            return dict(members)
        lists = {name: [one for one in members[name] if one not in missing] for name in (JOINED, LEFT) if name in members}
        return {**members, **lists}

    def joining(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """These members with the list of all; a row that leaves it outweighs the setting."""
        if self._of_all is None or self._of_all in members.get(LEFT, ()):
            return members
        return {**members, JOINED: list(dict.fromkeys([self._of_all, *members.get(JOINED, ())]))}

    async def leave(self, record: str | None, wanted: Mapping[str, Any]) -> list[str]:
        """Removes a contact that was updated by POST from lists, which a POST cannot do. Returns the note for the row if it stays
        on them.

        Raises as a request does.
        """
        while lists := self.there(wanted).get(LEFT):
            if record is None:
                return [f"the contact was not taken off {in_words(lists)}: Brevo did not say its id"]
            answer = await self._requests.update(record, {LEFT: lists}, writes=())
            if answer.status == 204:
                answer.confirm()
                break
            if not (speaks_of_a_list(answer) and await self.look(lists)):
                return [f"Brevo did not take the contact off {in_words(lists)} ({answer.label}: {said(answer)})"]
        return []


def named(members: Mapping[str, Any]) -> list[int]:
    """The lists that a contact is to join or leave."""
    return [one for name in (JOINED, LEFT) for one in members.get(name, ())]


def without(missing: Sequence[int]) -> list[str]:
    """The note for the row about lists that were left out."""
    return [f"Brevo has no {in_words(missing)}: create it in Brevo, or correct the row"] if missing else []


def in_words(lists: Sequence[int]) -> str:
    return f"list {lists[0]}" if len(lists) == 1 else f"lists {', '.join(map(str, lists))}"
