"""Who may do what: tokens, their scopes, and the cookie of a signed-in user."""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from crm_sync.api.routes import Scope
from crm_sync.errors import ConfigurationError

SESSION_S = 12 * 3600  # of a browser, before the token is asked for again
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


ALL = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Visitor:
    """The caller. name: of the token, or from a trusted proxy. role: the database role used for requests; None: the console's
    own.
    """

    name: str
    scopes: frozenset[Scope]
    role: str | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class Token:
    """digest: SHA-256 of the token, so that a leaked file does not give access."""

    digest: bytes
    visitor: Visitor


class Tokens:
    """All tokens that are accepted. A cookie is valid for SESSION_S, until its user signs out, and only in this process: no other
    has its key, so none has to know who has signed out.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = {token.visitor.name: token for token in tokens}
        self._key = secrets.token_bytes(32)
        self._ended: dict[str, int] = {}  # cookies of users who have signed out, and until when they would be valid

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def visitor(self, token: str) -> Visitor | None:
        """The owner of the token. All are compared, in constant time."""
        digest = digest_of(token)
        found = None
        for candidate in self._tokens.values():
            if hmac.compare_digest(candidate.digest, digest):
                found = candidate.visitor
        return found

    def has(self, visitor: Visitor) -> bool:
        """Whether the visitor signed in with a token."""
        return any(token.visitor is visitor for token in self._tokens.values())

    def cookie(self, visitor: Visitor, now: float) -> str:
        """For a browser whose user has signed in. It reveals neither the token nor what it allows."""
        session = f"{visitor.name}.{int(now) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{session}.{self._signature(session)}"

    def of_cookie(self, cookie: str, now: float) -> Visitor | None:
        """None if it is not ours, expired, or of a user who has signed out."""
        if (until := self._until(cookie)) is None or now >= until or cookie in self._ended:
            return None
        return self._tokens[cookie.partition(".")[0]].visitor

    def end(self, cookie: str, now: float) -> None:
        """Its user has signed out: anyone who has a copy of it is out too."""
        self._ended = {ended: until for ended, until in self._ended.items() if now < until}
        if (until := self._until(cookie)) is not None and now < until:
            self._ended[cookie] = until

    def _until(self, cookie: str) -> int | None:
        """None if it is not ours."""
        session, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._signature(session).encode(), signature.encode(errors="replace")):
            return None
        name, end, _ = session.split(".")
        return int(end) if name in self._tokens else None

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


def digest_of(token: str) -> bytes:
    """The stored form of a token. Not a slow hash, on purpose: a token is random, and long enough."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def of_setting(token: SecretStr | str) -> Token:
    """From CONSOLE_TOKEN, or made for this run: it allows everything."""
    text = token if isinstance(token, str) else token.get_secret_value()
    return Token(digest_of(text), Visitor("console", ALL))


def read_tokens(file: Path) -> list[Token]:
    """CONSOLE_TOKENS_FILE: a section for each token, with sha256, scopes and, if wanted, role.

    Raises ConfigurationError that names the section and what is expected.
    """
    try:
        sections = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"CONSOLE_TOKENS_FILE: {file} cannot be read: {error}") from None
    return [_token(file, name, section) for name, section in sections.items()]


def _token(file: Path, name: str, section: Any) -> Token:
    def wrong(what: str) -> ConfigurationError:
        return ConfigurationError(f"CONSOLE_TOKENS_FILE: {file}, [{name}]: {what}. `crm-sync token NAME` prints a section")

    if not _NAME.fullmatch(name) or name == "console":
        raise wrong("expected a name of letters, digits, - and _, other than console")
    if not isinstance(section, dict):
        raise wrong("expected a section")
    unknown = section.keys() - {"sha256", "scopes", "role"}
    if unknown:
        raise wrong(f"{', '.join(sorted(unknown))} is not known; expected sha256, scopes and role")
    digest, scopes, role = section.get("sha256"), section.get("scopes"), section.get("role")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise wrong("sha256 is expected, of 64 hexadecimal digits")
    if not isinstance(scopes, list) or not scopes or not set(map(str, scopes)) <= set(Scope):
        raise wrong(f"scopes is expected, a list of {', '.join(Scope)}")
    if role is not None and (not isinstance(role, str) or not role):
        raise wrong("role is expected to be the name of a role of the database")
    return Token(bytes.fromhex(digest), Visitor(name, frozenset(map(Scope, scopes)), role))
