"""How a request proves itself to Mautic: a user's name and password, or an OAuth2 token that is fetched and renewed.

Either is off in Mautic until somebody turns it on. Tokens come from client credentials, which Mautic knows from version 4 on.
"""

import asyncio
import base64
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

from crm_sync.core.codes import Code
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.http import Http
from crm_sync.crm.mautic.answers import is_own, judged, number, plain
from crm_sync.errors import OutageError, RefusedError, StatusRefusedError

TOKEN_PATH = "/oauth/v2/token"  # noqa: S105 (a path)
MARGIN_S = 60.0  # a token is renewed so long before it ends; halfway where its life is shorter than twice that


class Login(ABC):
    """Sends requests with credentials."""

    @abstractmethod
    async def send(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Answer:
        """Any answer, whatever its status. Raises as Http.send does."""


class PasswordLogin(Login):
    """HTTP basic authentication."""

    def __init__(self, http: Http, username: str, password: str) -> None:
        self._http = http
        key = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {key}"}
        # PHP takes the header apart, and its debug pages show the parts.
        http.hide(key, password)

    async def send(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Answer:
        return await self._http.send(method, path, body, query=query, headers=self._headers)


class TokenLogin(Login):
    """OAuth2 client credentials. One token for all requests, and one renewal for all that need it."""

    def __init__(self, http: Http, client_id: str, client_secret: str) -> None:
        self._http = http
        self._form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self._turn = asyncio.Lock()
        self._token: str | None = None
        self._renew_at = 0.0
        http.hide(client_secret)

    async def send(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Answer:
        token = await self._current()
        answer = await self._send(token, method, path, body, query)
        # A host that strips the header is answered with a 401 too, but no token helps there.
        if answer.status == 401 and "token" in plain(answer).said("message").lower():
            token = await self._current(instead_of=token)
            answer = await self._send(token, method, path, body, query)
        return answer

    async def _send(self, token: str, method: str, path: str, body: object, query: Mapping[str, str] | None) -> Answer:
        return await self._http.send(method, path, body, query=query, headers={"Authorization": f"Bearer {token}"})

    async def _current(self, instead_of: str | None = None) -> str:
        """A token that is good for a while. instead_of: one that Mautic does not take any more."""
        async with self._turn:
            if self._token is None or self._token == instead_of or time.monotonic() >= self._renew_at:
                self._token = None  # a renewal that fails leaves none behind
                self._token, self._renew_at = await self._fetch()
            return self._token

    async def _fetch(self) -> tuple[str, float]:
        asked_at = time.monotonic()
        answer = await self._http.send("POST", TOKEN_PATH, form=self._form)
        if answer.status in (400, 401) and is_own(answer):
            said = quoted(plain(answer))
            raise RefusedError(
                Code.REFUSED, f"Mautic gives no token ({answer.label}: {said}): check MAUTIC_CLIENT_ID and MAUTIC_CLIENT_SECRET"
            )
        if answer.flaw is not None:
            raise OutageError(Code.BROKEN_ANSWER, f"Mautic gives no token: {answer.flaw.reason}")
        try:
            token = judged(answer).get("access_token")
        except StatusRefusedError as error:
            # No contact is in the request for a token.
            raise RefusedError(error.code, error.reason) from None
        if not isinstance(token, str) or not token:
            raise OutageError(Code.BROKEN_ANSWER, f"Mautic answered {answer.label} without a token")
        self._http.hide_token(token)
        life_s = number(answer.get("expires_in"))
        return token, asked_at + life_s - min(MARGIN_S, life_s / 2)
