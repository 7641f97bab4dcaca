"""The statements with which people and the application's API change contacts: alike, except for which contacts they mean."""

import re

import pytest

from crm_sync.postgres.statements import read

FLIPS = ["change_contacts", "flip_failed_contacts", "flip_drifted"]
MEANT = re.compile(r":id :is (?P<of>[wm])\.id\n(?P<condition>.*?)\n +(?:\) AS c|FOR NO KEY UPDATE)", re.DOTALL)


def code(name):
    return "\n".join(line for line in read(name).splitlines() if not line.lstrip().startswith("--"))


def conditions(name):
    """Of those that are meant, and of those whose rows are held."""
    found = [(match["of"], match["condition"]) for match in MEANT.finditer(code(name))]
    assert [of for of, _ in found] == ["w", "m"]
    return [condition for _, condition in found]


@pytest.mark.parametrize("name", FLIPS)
def test_what_is_checked_again_of_a_locked_row_is_what_was_meant(name):
    meant, held = conditions(name)
    assert meant == held


def test_they_differ_only_in_which_contacts_they_mean_and_what_becomes_of_them():
    def rest(name):
        return (
            code(name)
            .replace(conditions(name)[0], "")
            .replace("$4::text:::sync_type", "'Queued'")
            .replace("$4::text", "'Queued'")
        )

    assert {rest(name) for name in FLIPS} == {rest("flip_drifted")}
