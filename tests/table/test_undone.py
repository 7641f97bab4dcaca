"""What a trigger undoes is told with the triggers that may be the cause; tests/faults/test_undone_writes.py has real ones."""

import pytest

from crm_sync.errors import ConfigurationError, DatabaseTroubleError, RowRefusedError
from crm_sync.table.undone import KEPT, TAKEN_BACK, Undone


class Database:
    """triggers: the names that it lists, or what it raises."""

    def __init__(self, triggers):
        self.triggers = triggers

    async def fetch(self, *_):
        if isinstance(self.triggers, Exception):
            raise self.triggers
        return [{"name": name} for name in self.triggers]


@pytest.mark.parametrize(
    ("triggers", "hint"),
    [
        ([], ""),
        (["audit"], ". Look at its trigger audit"),
        (["audit", "mask"], ". Look at its triggers audit, mask"),
        (["a", "b", "c", "d", "e"], ". Look at its triggers a, b, c, d, e"),
        (["a", "b", "c", "d", "e", "f"], ". Look at its triggers a, b, c, d, e, ..."),
        (DatabaseTroubleError("away"), ""),
        (ConfigurationError("no right to list them"), ""),
    ],
)
async def test_the_triggers_are_named_if_they_can_be_listed(triggers, hint):
    undone = Undone(Database(triggers))
    assert await message(undone.kept()) == KEPT + hint
    assert await message(undone.taken_back()) == TAKEN_BACK + hint
    assert await message(undone.reverted("brevo_contact_id")) == (
        f"a trigger of the table changes what a worker writes to brevo_contact_id{hint}"
    )


async def message(making):
    error = await making
    assert isinstance(error, RowRefusedError)  # so a statement without that row may work
    return str(error)
