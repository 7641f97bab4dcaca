"""How a request authenticates to Mautic: a user name and password, or an OAuth2 token that is fetched and renewed.

Both are off in Mautic by default. Tokens come from client credentials, which Mautic supports since version 4.
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact
from crm_sync.crm import token_login as tokens
from crm_sync.crm.answer import Answer, quoted
from crm_sync.crm.http import Http
from crm_sync.crm.mautic.answers import is_own, judged, plain
from crm_sync.errors import OutageError, RefusedError

TOKEN_PATH = "/oauth/v2/token"  # noqa: S105 (a path)


class Login(ABC):
    """Sends requests with credentials."""

    @abstractmethod
    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        *,
        writes: Collection[Contact] | None = None,
    ) -> Answer:
        """Any answer, whatever its status. Raises as Http.send does."""


class PasswordLogin(Login):
    """HTTP basic authentication."""

    def __init__(self, http: Http, username: str, password: str) -> None:
        self._http = http
        key = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {key}"}
        # PHP parses the header, and its debug pages show the parts.
        http.hide(key, password)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        *,
        writes: Collection[Contact] | None = None,
    ) -> Answer:
        return await self._http.send(method, path, body, query=query, headers=self._headers, writes=writes)


class TokenLogin(tokens.TokenLogin, Login):
    """OAuth2 client credentials."""

    def __init__(self, http: Http, client_id: str, client_secret: str) -> None:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        super().__init__(http, TOKEN_PATH, form=form, keys="check MAUTIC_CLIENT_ID and MAUTIC_CLIENT_SECRET")

    def refuses_token(self, answer: Answer) -> bool:
        """A host that strips the header also gets a 401, but no token helps there."""
        return answer.status == 401 and "token" in plain(answer).said("message").lower()

    def judge_login(self, answer: Answer) -> Answer:
        if answer.status in (400, 401) and is_own(answer):
            said = quoted(plain(answer))
            raise RefusedError(Code.REFUSED, f"Mautic gives no token ({answer.label}: {said}): {self.keys}")
        if answer.flaw is not None:
            raise OutageError(Code.BROKEN_ANSWER, f"Mautic gives no token: {answer.flaw.reason}")
        return judged(answer)
