"""How each CRM's consent is sent of several rows of one address at once: see `crm_sync.core.consent`. By the vendors' names, and
in the forms of `crm_sync.crm.members`.

Leaving a list or a segment is an opt-out too. Joining one, and a tag, is the affair of the row that is sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.crm.members import CONTACTABLE

Said = Mapping[str, Any]


def brevo(own: Said, others: Sequence[Said]) -> dict[str, Any]:
    return {**own, **_flags(others, "emailBlacklisted", "smsBlacklisted"), **_out(own, others, "listIds", "unlinkListIds")}


def hubspot(own: Said, others: Sequence[Said]) -> dict[str, Any]:
    """An opt-out of another row goes with the legal basis of the row that is sent. If that has none, it goes with its own, unless
    the row that is sent subscribes: nobody is subscribed by another row's legal basis.
    """
    found = {
        **own,
        **_flags(others, "unsubscribeAll"),
        **_out(own, others, "subscribeTo", "unsubscribeFrom"),
        **_out(own, others, "listIds", "unlinkListIds"),
    }
    if any(one.get("unsubscribeAll") for one in others):
        found["subscribeTo"] = []
    if "legalBasis" not in own and not found["subscribeTo"]:
        based = next((one for one in others if one.get("unsubscribeFrom") and "legalBasis" in one), {})
        found |= {name: based[name] for name in ("legalBasis", "legalBasisExplanation") if name in based}
    return found


def mautic(own: Said, others: Sequence[Said]) -> dict[str, Any]:
    closed: dict[str, Any] = {}
    for one in others:
        for channel in one.get("doNotContact", ()):
            if channel["reason"] != CONTACTABLE:
                closed.setdefault(channel["channel"].lower(), channel)
    kept = []
    for channel in own.get("doNotContact", ()):
        if channel["reason"] != CONTACTABLE:
            closed.pop(channel["channel"].lower(), None)
            kept.append(channel)
        elif channel["channel"].lower() not in closed:
            kept.append(channel)
    return {**own, "doNotContact": [*kept, *closed.values()], **_out(own, others, "segmentIds", "unlinkSegmentIds")}


def _flags(others: Sequence[Said], *names: str) -> dict[str, bool]:
    """Those that another row sets."""
    return {name: True for name in names if any(one.get(name) is True for one in others)}


def _out(own: Said, others: Sequence[Said], into: str, out_of: str) -> dict[str, list[int]]:
    """What is to be left is what any row leaves; what is to be joined, what the sent row joins and no other leaves."""
    left = dict.fromkeys(number for one in others for number in one.get(out_of, ()))
    return {
        into: [number for number in own.get(into, ()) if number not in left],
        out_of: [*dict.fromkeys([*own.get(out_of, ()), *left])],
    }
