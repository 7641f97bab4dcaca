"""What is sent of consent where one of several rows of an address is sent for all: an opt-out of any, no opt-in against it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.core.consent import over_fields
from crm_sync.crm import together
from crm_sync.crm.values import BREVO, HUBSPOT, MAUTIC

OUT, IN = {"channel": "email", "reason": 3}, {"channel": "email", "reason": 0}
SMS = {"channel": "SMS", "reason": 1}


def meant(said):
    """Without what says nothing."""
    return {name: value for name, value in said.items() if value not in (None, [])}


@pytest.mark.parametrize(
    ("merge", "own", "others", "sent"),
    [
        (together.brevo, {}, [{"emailBlacklisted": True}], {"emailBlacklisted": True}),
        (together.brevo, {"emailBlacklisted": False}, [{"emailBlacklisted": True}], {"emailBlacklisted": True}),
        (together.brevo, {"emailBlacklisted": False}, [{}], {"emailBlacklisted": False}),
        (together.brevo, {}, [{"emailBlacklisted": False}], {}),
        (
            together.brevo,
            {"emailBlacklisted": True},
            [{"smsBlacklisted": True}],
            {"emailBlacklisted": True, "smsBlacklisted": True},
        ),
        (together.brevo, {"listIds": [7, 8]}, [{"unlinkListIds": [8]}], {"listIds": [7], "unlinkListIds": [8]}),
        (together.brevo, {"listIds": [7]}, [{"listIds": [8]}], {"listIds": [7]}),
        (together.hubspot, {"subscribeTo": [5, 6]}, [{"unsubscribeFrom": [6]}], {"subscribeTo": [5], "unsubscribeFrom": [6]}),
        (together.hubspot, {"subscribeTo": [5]}, [{"unsubscribeAll": True}], {"unsubscribeAll": True}),
        (
            together.hubspot,
            {"unsubscribeFrom": [5]},
            [{"unsubscribeFrom": [6]}, {"unsubscribeFrom": [5]}],
            {"unsubscribeFrom": [5, 6]},
        ),
        (
            together.hubspot,
            {},
            [
                {"legalBasis": "NON_GDPR"},
                {"unsubscribeFrom": [6], "legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": "x"},
            ],
            {"unsubscribeFrom": [6], "legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": "x"},
        ),
        (
            together.hubspot,
            {"subscribeTo": [5]},
            [{"unsubscribeFrom": [6], "legalBasis": "CONSENT_WITH_NOTICE"}],
            {"subscribeTo": [5], "unsubscribeFrom": [6]},
        ),
        (
            together.hubspot,
            {"legalBasis": "NON_GDPR"},
            [{"unsubscribeFrom": [6], "legalBasis": "CONSENT_WITH_NOTICE"}],
            {"unsubscribeFrom": [6], "legalBasis": "NON_GDPR"},
        ),
        (together.mautic, {}, [{"doNotContact": [OUT]}], {"doNotContact": [OUT]}),
        (together.mautic, {"doNotContact": [IN]}, [{"doNotContact": [OUT]}], {"doNotContact": [OUT]}),
        (together.mautic, {"doNotContact": [IN]}, [{"doNotContact": [SMS]}], {"doNotContact": [IN, SMS]}),
        (together.mautic, {"doNotContact": [OUT]}, [{"doNotContact": [IN]}], {"doNotContact": [OUT]}),
        (
            together.mautic,
            {"doNotContact": [{"channel": "sms", "reason": 3}]},
            [{"doNotContact": [SMS]}],
            {"doNotContact": [{"channel": "sms", "reason": 3}]},
        ),
        (
            together.mautic,
            {"segmentIds": [7], "tags": ["a"]},
            [{"unlinkSegmentIds": [7], "tags": ["b"]}],
            {"unlinkSegmentIds": [7], "tags": ["a"]},
        ),
    ],
)
def test_what_is_sent(merge, own, others, sent):
    assert meant(merge(own, others)) == sent


channel = st.fixed_dictionaries({"channel": st.sampled_from(["email", "sms"]), "reason": st.integers(0, 3)})
numbers = st.lists(st.integers(1, 4), unique=True)
rows = {
    "hubspot": st.fixed_dictionaries(
        {}, optional={"unsubscribeAll": st.just(True), "unsubscribeFrom": numbers, "subscribeTo": numbers}
    ),
    "brevo": st.fixed_dictionaries(
        {},
        optional={
            "emailBlacklisted": st.booleans(),
            "smsBlacklisted": st.booleans(),
            "listIds": numbers,
            "unlinkListIds": numbers,
        },
    ),
    "mautic": st.fixed_dictionaries(
        {}, optional={"doNotContact": st.lists(channel, unique_by=lambda one: one["channel"]), "unlinkSegmentIds": numbers}
    ),
}


def outs(row):
    """What somebody is opted out of by it."""
    flags = {name for name in ("unsubscribeAll", "emailBlacklisted", "smsBlacklisted") if row.get(name) is True}
    left = {(name, number) for name in ("unsubscribeFrom", "unlinkListIds", "unlinkSegmentIds") for number in row.get(name) or ()}
    return flags | left | {one["channel"] for one in row.get("doNotContact") or () if one["reason"]}


def ins(row):
    flags = {name for name in ("emailBlacklisted", "smsBlacklisted") if row.get(name) is False}
    joined = {("unsubscribeFrom", number) for number in row.get("subscribeTo") or ()}
    joined |= {("unlinkListIds", number) for number in row.get("listIds") or ()}
    return flags | joined | {one["channel"] for one in row.get("doNotContact") or () if not one["reason"]}


@pytest.mark.parametrize(
    ("crm", "merge"), [("hubspot", together.hubspot), ("brevo", together.brevo), ("mautic", together.mautic)]
)
def test_whatever_they_say_every_opt_out_is_sent_and_no_opt_in_but_the_last_rows(crm, merge):
    @given(rows[crm], st.lists(rows[crm], min_size=1, max_size=3))
    def holds(own, others):
        sent = merge(own, others)
        of_others = set().union(*map(outs, others))
        assert outs(sent) == outs(own) | of_others
        assert ins(sent) <= ins(own)
        assert not ins(sent) & of_others

    holds()


@pytest.mark.parametrize("forms", [BREVO, HUBSPOT, MAUTIC])
def test_by_the_names_of_the_mapping_and_only_those(forms):
    names = {name.lower(): name for name in forms.members}
    merged = over_fields(names, forms.together)({"city": "London", **dict.fromkeys(names)}, [{"city": "Paris"}])
    assert merged.keys() == {"city", *names}
    assert meant(merged) == {"city": "London"}
