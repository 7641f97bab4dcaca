"""The part of a fake CRM that issues tokens: OAuth2's client credentials, or any login that is answered with a token."""

import math
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from crm_sync.sandbox.server import Answer, Call


class TokenDesk:
    """credentials: what a login must contain, as an HTML form or as JSON. life_s: lifetime of a token, infinity for no expiry.

    logins: how many were tried. A subclass overrides `granted` and `refused` if the vendor's answers look different.
    """

    def __init__(
        self, credentials: Mapping[str, str], *, life_s: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.credentials = dict(credentials)
        self.life_s = life_s
        self.logins = 0
        self.tokens: dict[str, float] = {}  # when each expires
        self._clock = clock

    def login(self, call: Call) -> Answer:
        """For the route where tokens are requested."""
        self.logins += 1
        said = dict(parse_qsl(call.body.decode(errors="replace"))) if isinstance(call.body, bytes) else call.body
        if said != self.credentials:
            return self.refused()
        token = secrets.token_hex(16)
        self.tokens[token] = self._clock() + self.life_s
        return self.granted(token)

    def admits(self, call: Call) -> bool:
        """Whether the request has a valid token."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._clock() < self.tokens.get(token, -math.inf)

    def revoke(self) -> None:
        """Makes all issued tokens invalid."""
        self.tokens.clear()

    def granted(self, token: str) -> Answer:
        """As in RFC 6749, 5.1."""
        body = {"access_token": token, "token_type": "bearer"}
        return Answer(200, body | ({} if math.isinf(self.life_s) else {"expires_in": self.life_s}))

    def refused(self) -> Answer:
        """As in RFC 6749, 5.2."""
        return Answer(401, {"error": "invalid_client", "error_description": "the credentials are not valid"})
