"""The command that an interrupted comparison suggests."""

import shlex

import pytest

from crm_sync.commands.compare import Run, Wanted
from crm_sync.core.drift import Drift
from crm_sync.reports.drift_report import broken_off


@pytest.mark.parametrize("odd", ["x'; touch /tmp/there; echo '", "two words", "$(id)", "-x"])
def test_a_key_or_a_field_is_one_word_of_the_shell(odd):
    run = Run("brevo", Wanted((odd,), flips=True))
    said = broken_off("brevo", Drift(last_key=odd), "Ctrl-C.", run.command)
    typed = said.partition("`")[2].rpartition("`")[0]
    assert shlex.split(typed) == ["crm-sync", "compare", "brevo", "--field", odd, "--flip", "--after", odd]
