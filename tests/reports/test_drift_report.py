"""What a comparison says besides its counts, and the command that an interrupted one suggests."""

import shlex

import pytest

from crm_sync.commands.compare import Run, Wanted
from crm_sync.core.drift import Drift
from crm_sync.reports.drift_report import broken_off, remarks


@pytest.mark.parametrize("odd", ["x'; touch /tmp/there; echo '", "two words", "$(id)", "-x"])
def test_a_key_or_a_field_is_one_word_of_the_shell(odd):
    run = Run("brevo", Wanted((odd,), flips=True))
    said = broken_off("brevo", Drift(last_key=odd), "Ctrl-C.", run.command)
    typed = said.partition("`")[2].rpartition("`")[0]
    assert shlex.split(typed) == ["crm-sync", "compare", "brevo", "--field", odd, "--flip", "--after", odd]


@pytest.mark.parametrize(
    ("drift", "is_asked"),
    [(Drift(unknown=96), True), (Drift(unknown=96, compared=1), False), (Drift(unknown=1), False), (Drift(), False)],
)
def test_where_the_crm_knows_nobody_the_account_may_be_another(drift, is_asked):
    said = " ".join(remarks("brevo", drift, "crm-sync compare brevo", flips=False))
    assert ("brevo knows none of them. If this is not the account" in said) == is_asked
