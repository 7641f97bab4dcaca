"""What of a value opts in."""

import pytest

from crm_sync.core.consent import opting_in
from crm_sync.crm.members import BREVO, HUBSPOT, MAUTIC

EMAIL, SMS = {"channel": "email", "reason": 0}, {"channel": "sms", "reason": 3}


@pytest.mark.parametrize(
    ("member", "value", "found"),
    [
        (BREVO["emailBlacklisted"], False, False),
        (BREVO["emailBlacklisted"], True, None),
        (HUBSPOT["subscribeTo"], [7, 8], [7, 8]),
        (MAUTIC["doNotContact"], [EMAIL], [EMAIL]),
        (MAUTIC["doNotContact"], [EMAIL, SMS], [EMAIL]),
        (MAUTIC["doNotContact"], [SMS], None),
    ],
)
def test_the_part_that_opts_in_is_found(member, value, found):
    assert opting_in(value, member.opt_outs) == found
