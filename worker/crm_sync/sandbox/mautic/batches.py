"""The batches of a fake Mautic.

The status is the same whatever happens to the items. Failed items are missing from the contacts, and the others keep their
indexes, which turns PHP's list into an object.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crm_sync.sandbox.mautic.account import DENIED, NOT_FOUND, Contact, ItemError, MauticAccount
from crm_sync.sandbox.mautic.showing import details
from crm_sync.sandbox.server import Answer

Item = Mapping[str, Any]
Written = tuple[Contact, int]  # with the status of the item


def new(account: MauticAccount, items: Sequence[Item]) -> Answer:
    def write(item: Item) -> Written:
        contact, is_new = account.add(item)
        return contact, 201 if is_new else 200

    return _answer(account, items, write, 201)


def edit(account: MauticAccount, items: Sequence[Item], *, put: bool) -> Answer:
    """put: fields that an item does not name are blanked, and an unknown id is a new record."""

    def write(item: Item) -> Written:
        found = account.with_id(item.get("id"))
        if found is None and not put:
            raise ItemError(404, NOT_FOUND)
        if found is None:
            return account.create(item), 201
        return account.edit(found, item, put=put), 200

    return _answer(account, items, write, 200, shows_refused=True)


def delete(account: MauticAccount, query: Mapping[str, str]) -> Answer:
    """`?ids=1,2`. Deleted ones are shown with their ids, missing ones are silently skipped."""
    found = [one for value in query.get("ids", "").split(",") if (one := account.with_id(value)) is not None]
    shown = {number: details(contact, account.fields) for number, contact in enumerate(found)}
    errors: dict[int, Any] = {}
    for number, contact in enumerate(found):
        if contact.id in account.denied_ids:
            errors[number] = {"code": 403, "message": DENIED, "type": "api"}
        else:
            account.delete(contact)
    return Answer(200, {"contacts": _php(shown), **({"errors": _php(errors)} if errors else {})})


def _answer(
    account: MauticAccount, items: Sequence[Item], write: Callable[[Item], Written], status: int, *, shows_refused: bool = False
) -> Answer:
    """shows_refused: a write that its form refuses leaves the record among the contacts."""
    contacts: dict[int, Any] = {}
    errors: dict[int, Any] = {}
    codes: list[int] = []
    for index, item in enumerate(items):
        try:
            contact, code = write(item)
            contacts[index] = details(contact, account.fields)
        except ItemError as error:
            code = error.code
            errors[index] = {"code": code, "message": error.message, **_kind(error.details)}
            if shows_refused and error.details is not None and (found := account.with_id(item.get("id"))):
                contacts[index] = details(found, account.fields)
        codes.append(code)
    body = {"contacts": _php(contacts), "statusCodes": codes}
    return Answer(status, {**body, "errors": _php(errors)} if errors else body)


def _kind(problems: Mapping[str, list[str]] | None) -> dict[str, Any]:
    """How an item's error continues: one found by the form has details, others have a type."""
    return {"type": "api"} if problems is None else {"details": problems, "type": None}


def _php(members: Mapping[int, Any]) -> Any:
    """PHP's array in JSON: a list if its indexes have no gaps, else an object; a list if it is empty."""
    return (
        list(members.values()) if list(members) == list(range(len(members))) else {str(key): one for key, one in members.items()}
    )
