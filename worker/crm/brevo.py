"""Brevo, one contact a request.

The batch endpoint never creates and is deprecated from 30 October 2026 on; the import answers nothing per contact. So each
contact is an upsert of its own: POST with updateEnabled, or PUT by Brevo's id where the row has it, so that a changed email
address makes no second record. [Brevo's OpenAPI and changelog, 2026-05-12]
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from worker.core.outcome import Contact, Outcome
from worker.crm.client import Account, Client
from worker.crm.http import Answer, Http, require_https
from worker.database import Database
from worker.errors import DatabaseTroubleError, LaneError, OutageError, RefusedError
from worker.pace import Pace
from worker.settings import BrevoSettings, read

# Attributes that Brevo holds unique over the account, beside email and ext_id: families and companies share them.
SHARED = ("SMS", "WHATSAPP", "LANDLINE_NUMBER")

_ID = re.compile(r"[1-9][0-9]{0,18}")

DEFAULT_FIELDS = {"FIRSTNAME": "first_name", "LASTNAME": "last_name", "SMS": "phone"}


def account() -> Account | None:
    """None without a key. Raises ConfigurationError naming a wrong setting."""
    settings = read(BrevoSettings)
    key = settings.brevo_api_key
    if key is None:
        return None
    base_url = require_https("BREVO_BASE_URL", settings.brevo_base_url)

    @asynccontextmanager
    async def open_client(database: Database) -> AsyncIterator[tuple[Client, Pace]]:
        pace = Pace(database, "brevo", settings.brevo_requests_per_second or None)
        headers = {"api-key": key.get_secret_value()}
        async with Http(base_url, headers, concurrency=Brevo.concurrency, pace=pace) as http:
            yield Brevo(http, list_id=settings.brevo_list_id), pace

    return Account(DEFAULT_FIELDS, open_client)


class Brevo:
    """See worker.crm.client.Client."""

    batch_limit = 1
    concurrency = 16

    def __init__(self, http: Http, *, list_id: int | None = None) -> None:
        """list_id: the list that delivered contacts are put on."""
        self._http = http
        self._lists = {} if list_id is None else {"listIds": [list_id]}

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Outcome]:
        return [await self._upsert(contact) for contact in contacts]

    async def check(self) -> str:
        """From the contacts' bucket: /account allows 100 requests an hour to everything on the account."""
        answer = await self._http.request("GET", "/contacts", limit="1")
        if answer.status != 200 or not isinstance(answer.get("contacts"), list):
            raise _not_brevo(answer)
        return "key accepted"

    async def _upsert(self, contact: Contact) -> Outcome:
        email = (contact.email or "").strip()
        # Brevo takes no null; what is empty here stays as it is there.
        attributes = {name: value for name, value in contact.fields.items() if not _is_empty(value)}
        remote_id = contact.remote_id or None
        answer = await self._write(remote_id, email, attributes)
        if answer.status == 404 and remote_id is not None:
            # Deleted in Brevo since: it is made anew.
            remote_id = None
            answer = await self._write(remote_id, email, attributes)

        note = None
        shared = _refused_attributes(answer) & attributes.keys()
        if shared:
            note = f"{', '.join(sorted(shared))} was left out: {_said(answer)}"
            attributes = {name: value for name, value in attributes.items() if name not in shared}
            answer = await self._write(remote_id, email, attributes)

        if answer.status == 204:
            remote_id = remote_id or await self._find_id(email)
        else:
            remote_id = _id(answer)
            if remote_id is None:
                return _refusal(answer)
        return Outcome.delivered(remote_id, None if note is None else "FIELD_NOT_SENT", note)

    async def _write(self, remote_id: str | None, email: str, attributes: Mapping[str, Any]) -> Answer:
        if remote_id is None:
            body = {"email": email, "attributes": attributes, "updateEnabled": True, **self._lists}
            return await self._http.request("POST", "/contacts", body)
        body = {"attributes": {**attributes, "EMAIL": email}, **self._lists}
        return await self._http.request("PUT", f"/contacts/{quote(remote_id, safe='')}", body, identifierType="contact_id")

    async def _find_id(self, email: str) -> str | None:
        """An update is answered with nothing. The contact is delivered whether its id is found or not."""
        try:
            answer = await self._http.request("GET", f"/contacts/{quote(email, safe='')}", identifierType="email_id")
        except (LaneError, DatabaseTroubleError):
            return None
        return _id(answer)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _id(answer: Answer) -> str | None:
    """The id in a success. Anything else that has such a status is a login page, a proxy or half an answer."""
    value = answer.get("id") if answer.status in (200, 201) else None
    return str(value) if isinstance(value, int | str) and _ID.fullmatch(str(value)) else None


def _duplicates(answer: Answer) -> set[str]:
    """Which identifiers another contact has, in Brevo's words.

    By metadata, not by code: since May 2026 duplicates come as invalid_parameter too.
    """
    metadata = answer.get("metadata")
    names = metadata.get("duplicate_identifiers") if isinstance(metadata, dict) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _refused_attributes(answer: Answer) -> set[str]:
    """Which of the shared attributes are why the contact was refused: another contact has it, or it is no phone number."""
    if answer.status != 400:
        return set()
    if duplicates := {name.upper() for name in _duplicates(answer)}:
        return duplicates if duplicates <= set(SHARED) else set()
    return set(SHARED) if "phone" in _said(answer).lower() else set()


def _refusal(answer: Answer) -> Outcome:
    """An answer that is no success. Raises LaneError where it is not about this contact."""
    said = f"{answer.status}: {_said(answer)}"
    if duplicates := _duplicates(answer):
        names = ", ".join(sorted(duplicates))
        return Outcome.rejected("DUPLICATE", f"another contact in Brevo has the same {names} ({said})")
    if answer.status == 425:
        return Outcome.failed("TOO_EARLY", f"Brevo is still working on this contact ({said})")
    if answer.status in (404, 405, 406):
        raise _not_brevo(answer)
    if answer.status >= 400:
        return Outcome.rejected("REJECTED", f"Brevo refused the contact ({said})")
    raise OutageError("BROKEN_ANSWER", f"Brevo answered {answer.status} without what it documents for it")


def _not_brevo(answer: Answer) -> RefusedError:
    # Without what was said: a page that is not Brevo's can quote the contact.
    return RefusedError("NOT_FOUND", f"what answered {answer.status} is not Brevo's API: check BREVO_BASE_URL")


def _said(answer: Answer) -> str:
    return answer.said("code", "message")
