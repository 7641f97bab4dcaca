"""Who may use the API of a fake Mautic: basic authentication, and OAuth2 with client credentials."""

import base64
import binascii
import secrets
from typing import Any
from urllib.parse import parse_qs

from crm_sync.sandbox.server import Answer, Call

TOKEN_PATH = "/oauth/v2/token"  # noqa: S105 (a path)


class MauticError(Exception):
    """A refusal before a request reaches its controller: status, message and type."""

    def __init__(self, status: int, message: str, kind: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"errors": [{"message": message, "code": status, "type": kind}]}


class Logins:
    """api_enabled, basic_enabled: off in Mautic by default. token_life_s: one hour by default.

    strips_header: the web server does not pass on the Authorization header, as with some hosts [mautic/mautic#6124].
    """

    def __init__(self, username: str, password: str, client_id: str, client_secret: str) -> None:
        self.username = username
        self.api_enabled = True
        self.basic_enabled = True
        self.strips_header = False
        self.token_life_s = 3600
        self._basic = f"{username}:{password}"
        self._client = [client_id], [client_secret]
        self.tokens: dict[str, float] = {}  # when each expires

    def revoke(self) -> None:
        """Makes all issued tokens invalid."""
        self.tokens.clear()

    def admit(self, call: Call, now_s: float) -> None:
        """Raises MauticError if the caller is not admitted."""
        if not self.api_enabled:
            text = "API disabled. You need to enable the API in the API settings of Mautic's Configuration."
            raise MauticError(403, text, "api_disabled")
        if call.path == TOKEN_PATH:
            return
        way, _, key = ("" if self.strips_header else call.headers.get("Authorization", "")).partition(" ")
        match way.lower():
            case "basic":
                self._admit_user(key)
            case "bearer":
                self._admit_token(key, now_s)
            case _:
                raise MauticError(401, "API authorization denied.", "access_denied")

    def token(self, call: Call, now_s: float) -> Answer:
        form = parse_qs(call.body.decode(errors="replace")) if isinstance(call.body, bytes) else {}
        if form.get("grant_type") != ["client_credentials"]:
            raise MauticError(400, "Invalid grant_type parameter or parameter missing", "invalid_request")
        if (form.get("client_id"), form.get("client_secret")) != self._client:
            raise MauticError(400, "The client credentials are invalid", "invalid_client")
        token = self.grant(now_s)
        body: dict[str, Any] = {"access_token": token, "expires_in": self.token_life_s, "token_type": "bearer", "scope": None}
        return Answer(200, body)

    def grant(self, now_s: float) -> str:
        token = secrets.token_hex(24)
        self.tokens[token] = now_s + self.token_life_s
        return token

    def _admit_user(self, key: str) -> None:
        if not self.basic_enabled:
            text = "Basic Auth disabled. You need to enable HTTP basic auth in the API settings of Mautic's Configuration."
            raise MauticError(403, text, "access_denied")
        try:
            given = base64.b64decode(key, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            given = ""
        if given != self._basic:
            raise MauticError(401, "Authorization denied, invalid credentials.", "access_denied")

    def _admit_token(self, token: str, now_s: float) -> None:
        if token not in self.tokens:
            raise MauticError(401, "The access token provided is invalid.", "invalid_grant")
        if now_s >= self.tokens[token]:
            raise MauticError(401, "The access token provided has expired.", "invalid_grant")
