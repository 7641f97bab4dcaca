"""A login that fetches a token, for CRMs that require one: OAuth2 client credentials, or a user name and password.

All requests share one token and one renewal, which happens before the token expires or once the CRM refuses it. Requests that
wait during a login share its result, even a refusal: too many attempts lock an account. Neither token nor secret appears in an
answer, an error or a log.
"""

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from functools import partial
from typing import NamedTuple, Self

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact
from crm_sync.core.text import clean
from crm_sync.crm.answer import Answer, number, quoted, usable
from crm_sync.crm.http import Http
from crm_sync.errors import BatchRefusedError, LaneError, OutageError, RefusedError, StatusRefusedError

MARGIN_S = 60.0  # a token is renewed this long before it expires; halfway if its life is shorter than twice that

_SENDABLE = re.compile(r"[!-~]+")  # in a header


class Token(NamedTuple):
    """renew_at: by the monotonic clock; infinity if the CRM does not say how long it is valid."""

    value: str
    renew_at: float


class TokenLogin:
    """Sends requests with a token: `request` and `send` work like those of Http.

    A CRM that deviates from RFC 6749 gets a subclass that overrides `refuses_token` or `judge_login`.
    """

    def __init__(
        self,
        http: Http,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        keys: str,
        member: str = "access_token",
    ) -> None:
        """form or body: sent to path, as an HTML form or as JSON. All of its values except grant_type and scope are secret.

        keys: the settings to check if the login is refused: `check X and Y`. member: the member of the answer that contains the
        token.
        """
        self._http = http
        self._path = path
        self._form = form
        self._body = body
        self.keys = keys
        self._member = member
        self._turn = asyncio.Lock()
        self._logins = 0  # number of logins that have ended
        self._token: Token | None = None
        self._failure: LaneError | None = None  # of the last login
        http.hide(*(value for name, value in (form or body or {}).items() if name not in ("grant_type", "scope")))

    @classmethod
    def client_credentials(
        cls, http: Http, path: str, client_id: str, client_secret: str, *, keys: str, scope: str | None = None
    ) -> Self:
        """OAuth2's client credentials grant, with the credentials in the form [RFC 6749, 2.3.1 and 4.4]."""
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        return cls(http, path, form=form | ({"scope": scope} if scope else {}), keys=keys)

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        once: bool = False,
        writes: Collection[Contact] | None = None,
        **query: str,
    ) -> Answer:
        """See Http.request. Also raises RefusedError if the CRM grants no token."""
        return usable(await self.send(method, path, body, query, once=once, writes=writes), body, keys=self.keys)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        *,
        once: bool = False,
        writes: Collection[Contact] | None = None,
    ) -> Answer:
        """See Http.send. A request whose token is refused is repeated once with a new one."""
        send = partial(self._http.send, method, path, body, query=query, once=once, writes=writes)
        token = await self._current()
        answer = await send(headers=_bearer(token))
        if self.refuses_token(answer):
            token = await self._current(instead_of=token)
            answer = await send(headers=_bearer(token))
        return answer

    def refuses_token(self, answer: Answer) -> bool:
        """Whether another token may help."""
        return answer.status == 401

    def judge_login(self, answer: Answer) -> Answer:
        """The answer to a login, if it grants a token. Raises LaneError."""
        if answer.status in (400, 401, 403) and isinstance(answer.json, dict):
            raise RefusedError(Code.REFUSED, f"the CRM gives no token ({answer.label}: {_said(answer)}): {self.keys}")
        return usable(answer, keys=self.keys)

    async def _current(self, instead_of: str | None = None) -> str:
        """A valid token. instead_of: a token that the CRM no longer accepts."""
        ended = self._logins
        async with self._turn:
            if self._logins > ended and self._failure is not None:
                raise self._failure  # of the login that this request waited for
            # The token of that login is used, however short its life, even if it is the same as before.
            if (token := self._token) is not None and (self._logins > ended or _is_good(token, instead_of)):
                return token.value
            token = await self._renewed()
            return token.value

    async def _renewed(self) -> Token:
        self._token = self._failure = None  # a cancelled login leaves no failure behind
        try:
            self._token = await self._fetch()
        except LaneError as error:
            self._failure = _of_everybody(error)
            raise self._failure from None
        finally:
            self._logins += 1
        return self._token

    async def _fetch(self) -> Token:
        asked_at = time.monotonic()
        answer = await self._http.send("POST", self._path, self._body, form=self._form, login=True)
        token = self.judge_login(answer).get(self._member)
        if not isinstance(token, str) or not _SENDABLE.fullmatch(token):
            raise OutageError(Code.BROKEN_ANSWER, f"the CRM answered {answer.label} to a login, without a token")
        self._http.hide_token(token)
        life_s = number(answer.get("expires_in"))
        return Token(token, asked_at + life_s - min(MARGIN_S, life_s / 2))


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _is_good(token: Token, instead_of: str | None) -> bool:
    return token.value != instead_of and time.monotonic() < token.renew_at


def _said(answer: Answer) -> str:
    """The message of an error as in RFC 6749, 5.2, or of one with a message."""
    words = [value for name in ("error", "error_description") if isinstance(value := answer.get(name), str)]
    return quoted(answer) if answer.get("message") or not words else clean(": ".join(words))


def _of_everybody(error: LaneError) -> LaneError:
    """No contact is in a token request, so none can be the cause."""
    if isinstance(error, StatusRefusedError):
        return RefusedError(error.code, error.reason)
    if isinstance(error, BatchRefusedError):
        return OutageError(Code.BROKEN_ANSWER, f"a login failed: {error.reason}")
    return error
