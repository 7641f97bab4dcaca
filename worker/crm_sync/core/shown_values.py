"""Values of settings as people may see them: secrets are masked."""

import re

from crm_sync.core.keyword_string import is_keyword_string, pairs_of
from crm_sync.core.text import MASK, printable

LONGEST = 2000
# Names of settings and URL parameters that hold a secret. A path is not a secret, even if it leads to one: sslkey.
_SECRET = re.compile(r"key$|token|secret|passw|passphrase|credential|signature|authorization", re.IGNORECASE)
_NO_SECRET = ("contacts_key", "sslkey")
_POSTGRES = ("postgres", "postgresql")


def shown(name: str, value: str, *, is_secret: bool) -> str:
    """One line. name: of the setting. is_secret: according to its type. Secret names and, in a URL, everything before the host
    are masked too.

    The path of a webhook works as a password, so none of it is shown.
    """
    if is_secret or is_secret_name(name):
        return MASK
    text = printable(value, LONGEST)
    if name.lower().endswith("database_url") and is_keyword_string(value):
        return printable(_masked_pairs(value), LONGEST)
    if "://" not in text:
        return text
    return _origin(text) if "webhook" in name.lower() else masked_url(text)


def _masked_pairs(text: str) -> str:
    try:
        pairs = pairs_of(text)
    except ValueError:
        return MASK  # where the password ends is not known
    return " ".join(f"{name}={MASK if is_secret_name(name) else value}" for name, value in pairs.items())


def is_secret_name(name: str) -> bool:
    """Whether a setting or a parameter with this name holds a secret, as far as the name tells."""
    return name.lower() not in _NO_SECRET and _SECRET.search(name) is not None


def masked_url(url: str) -> str:
    """Without passwords and tokens. Everything between :// and the last @ is masked; Postgres's user is shown."""
    scheme, _, rest = url.partition("://")
    is_postgres = scheme.partition("+")[0].lower() in _POSTGRES
    inside, at, rest = rest.rpartition("@")
    if at:
        user, colon, _ = inside.partition(":")
        inside = (f"{user}:{MASK}" if colon else user) if is_postgres else MASK
    before, question, query = rest.partition("?")
    parameters = [_masked(parameter, is_postgres=is_postgres) for parameter in query.split("&")] if question else []
    return f"{scheme}://{inside}{at}{before}{question}{'&'.join(parameters)}"


def _masked(parameter: str, *, is_postgres: bool) -> str:
    """Most of Postgres's parameters are not secret, and help with troubleshooting."""
    name, equals, _ = parameter.partition("=")
    return parameter if is_postgres and equals and not is_secret_name(name) else f"{name}{equals}{MASK if equals else ''}"


def _origin(url: str) -> str:
    masked = masked_url(url)
    scheme, _, rest = masked.partition("://")
    host, slash, _ = rest.partition("/")
    return f"{scheme}://{host}{slash}{MASK if slash else ''}"
