"""What Brevo may know about a contact that is looked up before it is written, and what it would answer.

[Brevo's OpenAPI, "Get a contact's details"]
"""

from collections.abc import Sequence

from crm_sync.core.identity import fold
from crm_sync.crm.brevo.draft import Draft
from crm_sync.crm.brevo.identifiers import PHONE
from crm_sync.crm.exchange import Assumption, Said

ANOTHER_ADDRESS = "another.address@example.com"


MISSING = Said(404, {"code": "document_not_found", "message": "Contact does not exist"})
SAY = 4711  # an id that is made up, where the row has none


def assumptions(draft: Draft) -> Sequence[Assumption]:
    """In the modes that look it up."""
    return _with_address(draft) if draft.email else _without_address(draft)


def _with_address(draft: Draft) -> Sequence[Assumption]:
    remote_id, address, names = draft.contact.remote_id, fold(draft.email), ", ".join(sorted(draft.reserved))
    by_ext_id = len(draft.identifiers) > 1
    if not remote_id:
        if not names or by_ext_id:
            return ()
        return (
            Assumption(f"if Brevo has a contact with this address, {SAY} say, and no value of {names}", [_there(draft, address)]),
            Assumption(f"if Brevo has such a contact, and a value of {names}", [_there(draft, address, filled=True)]),
            Assumption("if Brevo has no contact with this address", [MISSING]),
        )
    record = f"contact {remote_id}"
    with_value = _there(draft, address, filled=True)
    filled = [Assumption(f"if Brevo has {record}, with this address and a value of {names}", [with_value])]
    return (
        Assumption(f"if Brevo has {record}, with this address", [_there(draft, address)]),
        *(filled if names else ()),
        Assumption(f"if Brevo has {record}, with another address", [_there(draft, ANOTHER_ADDRESS)]),
        Assumption(f"if Brevo has no {record} any more", [MISSING, MISSING] if names and not by_ext_id else [MISSING]),
    )


def _without_address(draft: Draft) -> Sequence[Assumption]:
    """Looked up by its id, if it has one, and then by what it is known by."""
    remote_id, names = draft.contact.remote_id, ", ".join(sorted(draft.reserved))
    looks = [(f"contact {remote_id}", f"no contact {remote_id} any more")] if remote_id else []
    if draft.own is not None:
        what = f"contact with this {draft.own.words}"
        looks.append((f"a {what}{' and no address' if draft.own.name == PHONE else ''}, {SAY} say", f"no {what}"))
    found: list[Assumption] = []
    gone = ""
    for missed, (there, missing) in enumerate(looks):
        before, record = [MISSING] * missed, SAY if missed else None
        found.append(Assumption(f"if Brevo has {gone}{there}", [*before, _there(draft, None, record=record)]))
        if names:
            said = _there(draft, None, filled=True, record=record)
            found.append(Assumption(f"if Brevo has {gone}{there}, and a value of {names}", [*before, said]))
        gone = f"{gone}{missing}, but "
    if draft.own is not None and draft.own.name == PHONE:
        said = _there(draft, ANOTHER_ADDRESS, record=SAY)
        words = f"if Brevo has a contact with this {draft.own.words} and an address"
        found.append(Assumption(words, [*[MISSING] * (len(looks) - 1), said]))
    none = " and ".join(missing for _, missing in looks)
    return (*found, Assumption(f"if Brevo has {none}", [MISSING] * len(looks)))


def _there(draft: Draft, address: str | None, *, filled: bool = False, record: int | None = None) -> Said:
    """filled: it has a value of what is only sent where there is none."""
    attributes = {name.upper(): "what was sent" for name in draft.contact.emptied}
    attributes |= dict.fromkeys(sorted(draft.reserved), "another value") if filled else {}
    known = record or draft.contact.remote_id or SAY
    return Said(200, {"id": known, "email": address, "emailBlacklisted": False, "attributes": attributes})
