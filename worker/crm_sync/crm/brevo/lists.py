"""The lists in a row, and which of them do not exist in Brevo."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from crm_sync.crm.answer import Answer

KNOWN_S = 60.0  # before a missing list is looked up again
JOINED, LEFT = "listIds", "unlinkListIds"

Ask = Callable[[int], Awaitable[Answer]]


class Lists:
    """ask: looks up one list."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._missing_until: dict[int, float] = {}

    async def look(self, ids: Iterable[int]) -> bool:
        """Looks up each of these. True if any was not found."""
        missing = False
        for one in ids:
            answer = await self._ask(one)
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


def named(members: Mapping[str, Any]) -> list[int]:
    """The lists that a contact is to join or leave."""
    return [one for name in (JOINED, LEFT) for one in members.get(name, ())]


def without(missing: Sequence[int]) -> list[str]:
    """The note for the row about lists that were left out."""
    return [f"Brevo has no {in_words(missing)}: create it in Brevo, or correct the row"] if missing else []


def in_words(lists: Sequence[int]) -> str:
    return f"list {lists[0]}" if len(lists) == 1 else f"lists {', '.join(map(str, lists))}"
