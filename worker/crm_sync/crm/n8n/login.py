"""How a call authenticates to n8n: at most one kind of webhook authentication, and the signature of its body."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
from pydantic import SecretStr

from crm_sync.crm.n8n.settings import N8nSettings
from crm_sync.errors import ConfigurationError

TOKEN_LIFE_S = 300  # a token is created for each request, so this is how much the two clocks may differ
SHORTEST_PASSPHRASE_BYTES = 32  # RFC 7518, 3.2: at least as long as the hash of HS256

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
# Headers that a request has anyway, and those about the connection and the body, which only their sender can set.
_TAKEN = frozenset(
    {
        *("accept", "accept-encoding", "content-length", "content-type", "host", "idempotency-key", "origin", "traceparent"),
        *("tracestate", "user-agent", "x-crm-sync-signature"),
        *("connection", "content-encoding", "expect", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)


@dataclass(frozen=True, slots=True)
class Login:
    """headers: of every request. passphrase: signs a token for each. signing_secret: signs the bodies."""

    headers: Mapping[str, str] = field(default_factory=dict)
    passphrase: str | None = None
    signing_secret: str | None = None
    secrets: tuple[str, ...] = ()

    def token(self) -> str | None:
        """A fresh token, if the webhook uses JWT."""
        if self.passphrase is None:
            return None
        now = int(time.time())
        return jwt.encode({"iat": now, "exp": now + TOKEN_LIFE_S}, self.passphrase, algorithm="HS256")


def signature(payload: bytes, secret: str) -> str:
    """HMAC-SHA256 as hexadecimal digits: what n8n's Crypto node computes from a webhook's raw body. Its Code node may not be
    allowed to.
    """
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()


def read_login(settings: N8nSettings) -> Login:
    """Raises ConfigurationError that names settings that are incomplete, contradict each other, or cannot be sent."""
    header = _pair("N8N_HEADER_NAME", settings.n8n_header_name, "N8N_HEADER_VALUE", _plain(settings.n8n_header_value))
    basic = _pair("N8N_USERNAME", settings.n8n_username, "N8N_PASSWORD", _plain(settings.n8n_password))
    passphrase = _plain(settings.n8n_jwt_secret)
    kinds = {"N8N_HEADER_NAME": header, "N8N_USERNAME": basic, "N8N_JWT_SECRET": passphrase}
    given = [name for name, credentials in kinds.items() if credentials is not None]
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)}: a webhook uses one kind of authentication; unset the others")
    if passphrase is not None and len(passphrase.encode()) < SHORTEST_PASSPHRASE_BYTES:
        raise ConfigurationError(
            f"N8N_JWT_SECRET: expected at least {SHORTEST_PASSPHRASE_BYTES} bytes, as HS256 requires (RFC 7518, 3.2)"
        )
    headers = _header(*header) if header else _basic(*basic) if basic else {}
    signing_secret = _plain(settings.n8n_signing_secret)
    parts = (*(header or ())[1:], *(basic or ())[1:], passphrase, signing_secret)
    return Login(headers, passphrase, signing_secret, tuple(part for part in parts if part))


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _pair(first_name: str, first: str | None, second_name: str, second: str | None) -> tuple[str, str] | None:
    if first is None and second is None:
        return None
    if first is None or second is None:
        missing, there = (first_name, second_name) if first is None else (second_name, first_name)
        raise ConfigurationError(f"{missing}: not set, but {there} is; set both or neither")
    return first, second


def _header(name: str, value: str) -> dict[str, str]:
    if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
        raise ConfigurationError("N8N_HEADER_NAME: expected the name of a custom header, such as X-Crm-Sync-Key")
    if not _VALUE.fullmatch(value):
        raise ConfigurationError("N8N_HEADER_VALUE: expected printable ASCII, without surrounding whitespace")
    return {name: value}


def _basic(username: str, password: str) -> dict[str, str]:
    if ":" in username:
        raise ConfigurationError("N8N_USERNAME: must not contain a colon, which separates it from the password")
    return {"Authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}
