"""The batch endpoints of a fake HubSpot.

With a distinct trace id for each input, the valid inputs are accepted and the others named (207): documented for create, measured
for upsert and update. Without trace ids, one invalid input makes HubSpot refuse all. Also measured: duplicate ids make it refuse
all in either case, results come in any order, and an id that was merged away is missing from an update's answer without an error.

The property that identifies a contact is named with each input, except in a read [HubSpot's OpenAPI]. An update takes one with
unique values [API reference, "Update contacts"], but not the address [reported, HubSpot/hubspot-api-nodejs #548]. Whether inputs
of one request may name different ones is documented nowhere: that they may not is a guess.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crm_sync.sandbox.hubspot.account import Contact, HubSpotAccount, Write, now
from crm_sync.sandbox.hubspot.errors import HubSpotError, InvalidError, non_unique

LARGEST_BATCH = 100
NOT_FOUND = "OBJECT_NOT_FOUND"
ALWAYS_SHOWN = ("createdate", "hs_object_id", "lastmodifieddate", "lifecyclestage")
SHOWN_BY_DEFAULT = ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname")

Input = Mapping[str, Any]
# What an input is to do. Raises HubSpotError; None if it is silently ignored.
Plan = Callable[[Input, dict[str, Contact | None]], Write | None]


class Batches:
    """echo_traces: results contain the trace id of their input. HubSpot's OpenAPI says so, captured answers do not have it."""

    def __init__(self, account: HubSpotAccount, seed: int) -> None:
        """seed: for the order of results."""
        self.echo_traces = False
        self._account = account
        self._chance = random.Random(seed)  # noqa: S311 (a reproducible shuffle)

    def upsert(self, body: Any) -> tuple[int, Any]:
        inputs = _inputs(body)
        if (name := _property(inputs)) != "email" and not (name and self._account.is_unique(name)):
            raise non_unique(name)
        _refuse_duplicates([_id(item).lower() for item in inputs])
        return self._write(inputs, self._plan_upsert, 200, shown=("email",), says_new=True)

    def create(self, body: Any) -> tuple[int, Any]:
        return self._write(_inputs(body), lambda item, claimed: self._account.plan(None, texts(item), claimed), 201)

    def update(self, body: Any) -> tuple[int, Any]:
        inputs = _inputs(body)
        name = _property(inputs)
        if name is not None and not self._account.is_unique(name):
            raise non_unique(name)
        _refuse_duplicates([_id(item) for item in inputs])
        return self._write(inputs, self._plan_update, 200)

    def read(self, body: Any) -> tuple[int, Any]:
        inputs = _inputs(body)
        started = now()
        names = body.get("properties") or SHOWN_BY_DEFAULT
        by = _property([body])
        found = {_id(item): self._account.find(_id(item), by) for item in inputs}
        results = [record(contact, names) for contact in found.values() if contact]
        missing = [key for key, contact in found.items() if contact is None]
        return self._answer(200, started, results, [_not_found(missing).listed()] if missing else [])

    def archive(self, body: Any) -> tuple[int, Any]:
        for item in _inputs(body):
            if contact := self._account.contacts.get(_id(item)):
                self._account.archive(contact)
        return 204, None

    def _plan_upsert(self, item: Input, claimed: dict[str, Contact | None]) -> Write:
        """A contact found by an additional address keeps its primary one: reported by others, who send both as we do."""
        if (name := str(item["idProperty"])) != "email":
            values = {name: _id(item), **texts(item)}
            return self._account.plan(self._account.by_value(name, _id(item)), values, claimed)
        email = _id(item)
        contact, values = self._account.by_email(email), {"email": email, **texts(item)}
        if contact is not None and values["email"].strip().lower() == email.strip().lower():
            del values["email"]
        return self._account.plan(contact, values, claimed)

    def _plan_update(self, item: Input, claimed: dict[str, Contact | None]) -> Write | None:
        key, by = _id(item), item.get("idProperty")
        if by is None and key in self._account.merged:
            return None
        contact = self._account.find(key, by)
        if contact is None:
            raise _not_found([key])
        return self._account.plan(contact, texts(item), claimed)

    def _write(
        self, inputs: Sequence[Input], plan: Plan, status: int, *, shown: Iterable[str] = (), says_new: bool = False
    ) -> tuple[int, Any]:
        """Plans all inputs, and then carries the plan out."""
        started = now()
        planned: list[tuple[Input, Write]] = []
        failed: list[tuple[Input, HubSpotError]] = []
        claimed: dict[str, Contact | None] = {}
        for item in inputs:
            try:
                if write := plan(item, claimed):
                    planned.append((item, write))
            except HubSpotError as error:
                failed.append((item, error))
        traced = _all_traced(inputs)
        errors = _errors(failed, traced=traced)
        written = [(self._account.apply(write), write, item) for item, write in planned]
        results = []
        # Their final state, because two inputs can be one contact.
        for contact, write, item in written:
            result = record(contact, {*ALWAYS_SHOWN, *write.values, *shown})
            if says_new:
                result["new"] = write.contact is None
            if traced and self.echo_traces:
                result["objectWriteTraceId"] = item["objectWriteTraceId"]
            results.append(result)
        return self._answer(status, started, results, errors)

    def _answer(self, status: int, started: str, results: list[Any], errors: list[Any]) -> tuple[int, Any]:
        self._chance.shuffle(results)
        body = {"status": "COMPLETE", "results": results, "startedAt": started, "completedAt": now()}
        return (207, {**body, "numErrors": len(errors), "errors": errors}) if errors else (status, body)


def record(contact: Contact, names: Iterable[str]) -> dict[str, Any]:
    """As HubSpot shows it: null for unset properties, although the OpenAPI only has texts."""
    return {
        "id": contact.id,
        "properties": {name: contact.value(name) for name in names},
        "createdAt": contact.created,
        "updatedAt": contact.modified,
        "archived": False,
    }


def texts(item: Any) -> dict[str, str]:
    """Its properties. All are texts according to the OpenAPI, although numbers are reported to be accepted; null is ignored."""
    properties = item.get("properties") if isinstance(item, dict) else None
    if not isinstance(properties, dict):
        raise _bad_shape("java.util.Map<java.lang.String,java.lang.String>")
    values = {name: value for name, value in properties.items() if value is not None}
    if not all(isinstance(value, str) for value in values.values()):
        raise _bad_shape("java.lang.String")
    return values


def _inputs(body: Any) -> list[Input]:
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(item, dict) for item in inputs):
        raise _bad_shape("java.util.ArrayList")
    if len(inputs) > LARGEST_BATCH:
        # The status is measured, the message is not.
        message = f"Batch operations are limited to {LARGEST_BATCH} records at a time, and there are {len(inputs)}"
        raise HubSpotError(400, "VALIDATION_ERROR", message)
    return inputs


def _id(item: Input) -> str:
    value = item.get("id")
    if not isinstance(value, str | int):
        raise _bad_shape("java.lang.String")
    return str(value)


def _property(inputs: Sequence[Input]) -> str | None:
    """The one that all inputs are identified by; None for the record id."""
    names: list[Any] = [item.get("idProperty") for item in inputs]
    if not all(isinstance(name, str | None) for name in names):
        raise _bad_shape("java.lang.String")
    names = list(dict.fromkeys(names))
    if len(names) > 1:
        raise HubSpotError(400, "VALIDATION_ERROR", "All inputs must have the same idProperty")
    return names[0] if names else None


def _all_traced(inputs: Sequence[Input]) -> bool:
    traces = [item.get("objectWriteTraceId") for item in inputs]
    return all(isinstance(trace, str) for trace in traces) and len(set(traces)) == len(traces)


def _errors(failed: Sequence[tuple[Input, HubSpotError]], *, traced: bool) -> list[dict[str, Any]]:
    """As a 207 lists them. Raises one for all if nothing says which input is meant."""
    unreadable = [error for _, error in failed if error.category is None]
    if unreadable:
        raise unreadable[0]
    if traced:
        return [error.listed(item["objectWriteTraceId"]) for item, error in failed]
    errors = [error for _, error in failed]
    missing = [error for error in errors if error.category == NOT_FOUND]
    invalid = [error for error in errors if isinstance(error, InvalidError)]
    if invalid:
        raise InvalidError([problem for error in invalid for problem in error.problems])
    if len(missing) < len(errors):
        raise next(error for error in errors if error.category != NOT_FOUND)
    return [_not_found([_id(item) for item, _ in failed]).listed()] if missing else []


def _refuse_duplicates(ids: Sequence[str]) -> None:
    twice = [key for key, count in Counter(ids).items() if count > 1]
    if twice:
        message = f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique"
        raise HubSpotError(400, "VALIDATION_ERROR", message, context={"ids": twice})


def _not_found(ids: list[str]) -> HubSpotError:
    message = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."
    return HubSpotError(404, NOT_FOUND, message, context={"ids": ids})


def _bad_shape(wanted: str) -> HubSpotError:
    """As captured: without a category."""
    return HubSpotError(400, None, f"Invalid input JSON on line 1, column 1: Cannot deserialize value of type `{wanted}`")
