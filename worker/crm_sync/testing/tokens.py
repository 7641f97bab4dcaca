"""The part of a fake CRM that gives tokens: OAuth2's client credentials, or any login that is answered with one."""

import math
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from crm_sync.sandbox.server import Answer, Call


class TokenDesk:
    """credentials: what a login has to say, as an HTML form or as JSON. life_s: of a token, infinity for no end.

    logins: that were tried. A subclass changes `granted` and `refused` where the vendor's answers look otherwise.
    """

    def __init__(
        self, credentials: Mapping[str, str], *, life_s: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.credentials = dict(credentials)
        self.life_s = life_s
        self.logins = 0
        self.tokens: dict[str, float] = {}  # when each ends
        self._clock = clock

    def login(self, call: Call) -> Answer:
        """For the route that tokens are fetched from."""
        self.logins += 1
        said = dict(parse_qsl(call.body.decode(errors="replace"))) if isinstance(call.body, bytes) else call.body
        if said != self.credentials:
            return self.refused()
        token = secrets.token_hex(16)
        self.tokens[token] = self._clock() + self.life_s
        return self.granted(token)

    def admits(self, call: Call) -> bool:
        """Whether the request has a token that is good."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._clock() < self.tokens.get(token, -math.inf)

    def revoke(self) -> None:
        """No token that was given out is good any more."""
        self.tokens.clear()

    def granted(self, token: str) -> Answer:
        """As RFC 6749, 5.1, has it."""
        body = {"access_token": token, "token_type": "bearer"}
        return Answer(200, body | ({} if math.isinf(self.life_s) else {"expires_in": self.life_s}))

    def refused(self) -> Answer:
        """As RFC 6749, 5.2, has it."""
        return Answer(401, {"error": "invalid_client", "error_description": "the credentials are not valid"})
