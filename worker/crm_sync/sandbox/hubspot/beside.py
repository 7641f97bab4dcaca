"""Subscriptions and static lists of a fake HubSpot.

As documented [communication preferences, lists]. Guesses: the error messages, that an address without a contact can opt out too,
and that an address that opted out of all email cannot be opted in.
"""

import re
from typing import Any

from crm_sync.sandbox.hubspot.account import HubSpotAccount
from crm_sync.sandbox.hubspot.errors import HubSpotError

MOST = 100
STATES = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
SCOPES = {
    "list": "crm.lists.write",
    "status": "communication_preferences.write",
    "statuses": "communication_preferences.statuses.batch.write",
}

_LIST = re.compile(r"/crm/(?:v3/lists|lists/[0-9]{4}-[0-9]{2})/([0-9]+)/memberships/add-and-remove")
_STATUSES = re.compile(
    r"/communication-preferences/[0-9]{4}-[0-9]{2}/statuses/"
    r"(?:batch/(?P<many>unsubscribe-all|write)|(?P<email>.+?)(?P<all>/unsubscribe-all)?)"
)


def scope(path: str) -> str | None:
    """Needed for this path. None if the path belongs to none of these requests."""
    if _LIST.fullmatch(path):
        return SCOPES["list"]
    found = _STATUSES.fullmatch(path)
    return found and SCOPES["statuses" if found["many"] else "status"]


def route(account: HubSpotAccount, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
    members = body if isinstance(body, dict) else {}
    if (in_list := _LIST.fullmatch(path)) is not None:
        return _change(account, int(in_list[1]), members)
    found = _STATUSES.fullmatch(path)
    to_all = found is not None and "unsubscribe-all" in (found["many"], (found["all"] or "").lstrip("/"))
    if found is None or (to_all and query.get("channel") != "EMAIL"):
        raise HubSpotError(400, "VALIDATION_ERROR", "query parameter channel must be EMAIL")
    if found["email"] is not None:
        return _one(account, found["email"].lower(), members, to_all=to_all)
    inputs = members.get("inputs")
    if not isinstance(inputs, list) or not 0 < len(inputs) <= MOST:
        raise HubSpotError(400, "VALIDATION_ERROR", f"inputs must have from 1 to {MOST} members")
    if to_all:
        account.out_of_all |= {str(one).lower() for one in inputs}
        return 200, {"status": "COMPLETE", "results": []}
    return _write(account, inputs)


def _one(account: HubSpotAccount, email: str, status: dict[str, Any], *, to_all: bool) -> tuple[int, Any]:
    if to_all:
        account.out_of_all.add(email)
        return 204, None
    if words := _wrong(account, email, status):
        raise HubSpotError(400, "VALIDATION_ERROR", words)
    account.statuses[email, status["subscriptionId"]] = status["statusState"]
    return 200, {"status": "COMPLETE", "results": []}


def _write(account: HubSpotAccount, inputs: list[Any]) -> tuple[int, Any]:
    errors = []
    for one in inputs:
        email = str(one["subscriberIdString"]).lower()
        if words := _wrong(account, email, one):
            errors.append({"status": "error", "category": "VALIDATION_ERROR", "message": words, "context": {"ids": [email]}})
        else:
            account.statuses[email, one["subscriptionId"]] = one["statusState"]
    body = {"status": "COMPLETE", "results": []}
    return (207, {**body, "numErrors": len(errors), "errors": errors}) if errors else (200, body)


def _wrong(account: HubSpotAccount, email: str, status: dict[str, Any]) -> str | None:
    """With data privacy settings on, each change needs a legal basis [HubSpot, communication preferences]."""
    number, state = status["subscriptionId"], status.get("statusState")
    if status.get("channel") != "EMAIL" or state not in STATES:
        return "Invalid input"
    if number not in account.subscriptions:
        return f"Subscription {number} does not exist"
    if account.needs_legal_basis and not (status.get("legalBasis") and status.get("legalBasisExplanation")):
        return "legalBasis and legalBasisExplanation are required"
    if state == "SUBSCRIBED" and email in account.out_of_all:
        return "The contact has unsubscribed from all email"
    return None


def _change(account: HubSpotAccount, number: int, members: dict[str, Any]) -> tuple[int, Any]:
    """Ids are texts; unknown ones are reported and the others accepted [HubSpot, lists]."""
    if number not in account.lists:
        raise HubSpotError(404, "OBJECT_NOT_FOUND", f"List does not exist with ID {number}.")
    if number in account.dynamic_lists:
        raise HubSpotError(400, "VALIDATION_ERROR", f"List {number} is not MANUAL or SNAPSHOT.")
    add, remove = members["recordIdsToAdd"], members["recordIdsToRemove"]
    there = [one for one in add if one in account.contacts]
    account.lists[number] = (account.lists[number] | {*there}) - {*remove}
    missing = [one for one in add if one not in there]
    return 200, {"recordsIdsAdded": there, "recordIdsRemoved": remove, "recordIdsMissing": missing}
