"""The requests to Brevo's API. Each returns an answer that is about the contact, or raises LaneError."""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from crm_sync.core.outcome import Contact
from crm_sync.crm.answer import Answer
from crm_sync.crm.brevo.refusals import judged
from crm_sync.crm.http import Http


class Requests:
    """identifier, kind: what a contact is looked up by, and which of Brevo's identifiers that is. record: Brevo's id."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def look(self, identifier: str, kind: str) -> Answer:
        return await self._send("GET", f"/contacts/{quote(identifier, safe='')}", identifierType=kind)

    async def create(self, body: Mapping[str, Any]) -> Answer:
        """Or update, if the body allows it."""
        return await self._send("POST", "/contacts", body)

    async def update(self, record: str, body: Mapping[str, Any], *, writes: Collection[Contact] | None = None) -> Answer:
        """writes: as for Http.send."""
        return await self._send("PUT", f"/contacts/{record}", body, writes=writes, identifierType="contact_id")

    async def delete(self, record: str) -> Answer:
        return await self._send("DELETE", f"/contacts/{record}", identifierType="contact_id")

    async def first_page(self) -> Answer:
        return await self._send("GET", "/contacts", limit="1")

    async def attributes(self) -> Answer:
        return await self._send("GET", "/contacts/attributes")

    async def look_at_list(self, list_id: int) -> Answer:
        return await self._send("GET", f"/contacts/lists/{list_id}")

    async def account(self) -> Answer:
        """Also an answer that is not Brevo's."""
        return await self._http.request("GET", "/account")

    async def _send(
        self, method: str, path: str, body: object = None, *, writes: Collection[Contact] | None = None, **query: str
    ) -> Answer:
        return judged(await self._http.send(method, path, body, query=query, writes=writes), body)
