"""Names in the mapping that are not fields of a contact: its consent, lists, segments and tags.

A consent field is sent only when it opts out. So it never opts a contact in again, unless the mapping says `subscribe = true` for
that field. The names are the vendors' own, in any case.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from crm_sync.core.documents import plain_text
from crm_sync.core.values import Apart, Kind, Member, flat
from crm_sync.errors import UnsendableError

EMAIL = "email"  # Mautic's channel
CONTACTABLE, UNSUBSCRIBED, MANUAL = 0, 1, 3  # reasons of Mautic's doNotContact [mautic/mautic: DoNotContact]
MOST_LISTS = 100  # of one contact: our own limit


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnsendableError("it must be a boolean")
    return value


def only_true(value: bool) -> bool | None:
    return value or None


def ids(value: Any) -> list[int]:
    """List or segment ids, without duplicates."""
    found = (
        [value] if isinstance(value, int) and not isinstance(value, bool) else flat(value) if isinstance(value, list) else None
    )
    if found is None or not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in found):
        raise UnsendableError("it must be an array of ids (positive whole numbers)")
    if len(found) > MOST_LISTS:
        raise UnsendableError(f"it must not have more than {MOST_LISTS} ids")
    return list(dict.fromkeys(found))


def texts(value: Any) -> list[str]:
    """Tags, without duplicates."""
    found = flat(value) if isinstance(value, list) else [value]
    return list(dict.fromkeys(text for one in found if (text := plain_text(one).strip())))


def do_not_contact(value: Any) -> list[dict[str, Any]]:
    """A boolean means the email channel, a list of texts these channels. JSON has the form documented by Mautic.

    A single text is not accepted as a channel: 'f' or 'no' would close a channel of that name and leave the others open.
    """
    if isinstance(value, bool):
        return [{"channel": EMAIL, "reason": MANUAL if value else CONTACTABLE}]
    parts = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        raise UnsendableError("it must be a boolean, a list of channels, or objects with a channel and a reason from 0 to 3")
    found = []
    for part in parts:
        one = {"channel": part.strip().lower()} if isinstance(part, str) else dict(part) if isinstance(part, dict) else {}
        one.setdefault("reason", MANUAL)
        reason = one["reason"] if isinstance(one["reason"], int) else str(one["reason"])
        if not isinstance(one.get("channel"), str) or not one["channel"] or str(reason) not in ("0", "1", "2", "3"):
            raise UnsendableError("it must be a boolean, a list of channels, or objects with a channel and a reason from 0 to 3")
        found.append({**one, "reason": int(reason)})
    return found


def only_opt_outs(value: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in value if one["reason"] != CONTACTABLE]


class _Takes(NamedTuple):
    """What of Postgres's types a form takes: see Member."""

    takes: frozenset[Kind]
    lists: frozenset[Kind]
    wants: str


_NUMBERS = frozenset({Kind.SMALL, Kind.BIG, Kind.NUMERIC, Kind.JSON})
_TEXTS = frozenset({Kind.TEXT, Kind.OTHER, Kind.JSON})
_TRUTH = _Takes(frozenset({Kind.BOOLEAN, Kind.JSON}), frozenset(), "a boolean")._asdict()
_IDS = _Takes(_NUMBERS, _NUMBERS, "an array of ids, as int[]")._asdict()
_CHANNELS = _Takes(frozenset({Kind.BOOLEAN, Kind.JSON}), _TEXTS, "a boolean, or an array of channels, as text[]")._asdict()
_TEXT = _Takes(_TEXTS, frozenset(), "a text")._asdict()

# Next to `attributes` [Brevo's OpenAPI, "Create a contact", "Update a contact"].
BREVO: Mapping[str, Member] = {
    "emailBlacklisted": Member(boolean, only_true, **_TRUTH),
    "smsBlacklisted": Member(boolean, only_true, **_TRUTH),
    "listIds": Member(ids, joins=True, **_IDS),
    "unlinkListIds": Member(ids, **_IDS),
}
LISTS = (Apart("listIds", "unlinkListIds", "list"),)
LEGAL_BASES = (
    *("LEGITIMATE_INTEREST_PQL", "LEGITIMATE_INTEREST_CLIENT", "PERFORMANCE_OF_CONTRACT"),
    *("CONSENT_WITH_NOTICE", "NON_GDPR", "PROCESS_AND_STORE", "LEGITIMATE_INTEREST_OTHER"),
)


def opting_out(value: Any) -> bool | None:
    """False is never sent: HubSpot has no way to opt a contact in to all email."""
    return only_true(boolean(value))


def nobody(_: Any) -> None:
    """For a name that only opts in."""


def legal_basis(value: Any) -> str:
    if value not in LEGAL_BASES:
        raise UnsendableError(f"it must be one of {', '.join(LEGAL_BASES)}")
    return str(value)


# Our names: HubSpot has separate requests for these. A person leaves subscriptions there, and no lists. [HubSpot, communication
# preferences; lists]
_STATUSES = (
    "the scope communication_preferences.write, or communication_preferences.statuses.batch.write, with which one request serves "
    "many contacts (Marketing Hub Enterprise)"
)
_LISTS = "the scope crm.lists.write"
HUBSPOT: Mapping[str, Member] = {
    "unsubscribeAll": Member(opting_out, needs=_STATUSES, **_TRUTH),
    "unsubscribeFrom": Member(ids, needs=_STATUSES, **_IDS),
    "subscribeTo": Member(ids, nobody, needs=_STATUSES, **_IDS),
    "legalBasis": Member(legal_basis, **_TEXT),
    "legalBasisExplanation": Member(plain_text),
    "listIds": Member(ids, needs=_LISTS, **_IDS),
    "unlinkListIds": Member(ids, needs=_LISTS, **_IDS),
}
# Next to the fields [mautic/mautic: LeadApiController]. The last two are our names: Mautic has separate requests for segments.
MAUTIC: Mapping[str, Member] = {
    "doNotContact": Member(do_not_contact, only_opt_outs, **_CHANNELS),
    "tags": Member(texts),
    "segmentIds": Member(ids, joins=True, **_IDS),
    "unlinkSegmentIds": Member(ids, **_IDS),
}
SEGMENTS = (Apart("segmentIds", "unlinkSegmentIds", "segment"),)
