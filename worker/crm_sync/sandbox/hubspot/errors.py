"""The error answers of a fake HubSpot account about contacts, in HubSpot's words."""

import json
from collections.abc import Mapping
from typing import Any


class HubSpotError(Exception):
    """An error answer. category: None for errors that HubSpot sends without one."""

    def __init__(
        self,
        status: int,
        category: str | None,
        message: str,
        *,
        context: Mapping[str, list[str]] | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        members = {"status": "error", "message": message, "context": context, "errors": errors, "category": category}
        self.body: dict[str, Any] = {name: member for name, member in members.items() if member is not None}

    @property
    def category(self) -> str | None:
        return self.body.get("category")

    def listed(self, trace: str | None = None) -> dict[str, Any]:
        """As one of the errors of a 207; captured ones have no `errors`, no `links` and no correlation id."""
        traces = {} if trace is None else {"objectWriteTraceId": [trace]}
        context = {**traces, **self.body.get("context", {})}
        return {"status": "error", "category": self.category, "message": self.body["message"], "context": context}


class InvalidError(HubSpotError):
    """Invalid values of one record or several."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        """problems: as they appear in the message."""
        details = [
            {"message": each["message"], "code": each["error"], "context": {"propertyName": [each["name"]]}} for each in problems
        ]
        # Separated without whitespace, as captured.
        listed = json.dumps(problems, separators=(",", ":"), ensure_ascii=False)
        super().__init__(400, "VALIDATION_ERROR", f"Property values were not valid: {listed}", errors=details)
        self.problems = problems


class RequiredError(HubSpotError):
    """Properties that the account's own rules require. That a 207 has these details too is a guess."""

    def __init__(self, missing: Mapping[str, str | None]) -> None:
        """By name: the property whose value is the reason, None for what every new contact needs."""
        details = [_missing(name, why) for name, why in missing.items()]
        super().__init__(400, "VALIDATION_ERROR", "The property values provided are invalid", errors=details)

    def listed(self, trace: str | None = None) -> dict[str, Any]:
        return {**super().listed(trace), "errors": self.body["errors"]}


def non_unique(name: Any) -> HubSpotError:
    """If contacts are requested by a property that is not unique."""
    return HubSpotError(400, "VALIDATION_ERROR", f"Unable to perform update/upsert by non-unique 0-1 property {name}")


def _missing(name: str, why: str | None) -> dict[str, Any]:
    """With the message from the changelog."""
    if why is None:
        code, message = "MISSING_REQUIRED_PROPERTY", f"A value for {name} must be provided"
    else:
        code = "MISSING_CONDITIONAL_REQUIRED_PROPERTY"
        message = f"{name} is required because of a conditional property rule based on [{why}]"
    return {"code": code, "message": message, "context": {"propertyName": [name]}}


def taken(portal: int, value: str, contact: str | None, owner: str | None, name: str = "email") -> HubSpotError:
    """contact: the id of the one to be written, None for a new one. owner: of the one that has the value, None for a new one.

    As captured for creates, and for writes of a unique property; that a changed address is refused like the latter is a guess.
    """
    other = owner or "0"
    if contact is None:
        context = {"existingId": [other]}
        return HubSpotError(409, "CONFLICT", f"Contact already exists. Existing ID: {other}", context=context)
    where = f"portalId={portal}, objectTypeId=ObjectTypeId{{legacyObjectType=CONTACT}}, propertyName={name}, value={value}"
    message = f"Cannot set PropertyValueCoordinates{{{where}}} on {contact}. {other} already has that value."
    return HubSpotError(400, "VALIDATION_ERROR", message)
