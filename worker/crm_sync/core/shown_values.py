"""Values of settings as people may see them: what would let somebody in is masked."""

import re

from crm_sync.core.text import MASK, printable

LONGEST = 2000
# What a setting or a parameter of a URL is called that holds a secret. A path is none, though it leads to one: sslkey.
_SECRET = re.compile(r"key$|token|secret|passw|passphrase|credential|signature|authorization", re.IGNORECASE)
_NO_SECRET = ("contacts_key", "sslkey")
_POSTGRES = ("postgres", "postgresql")


def shown(name: str, value: str, *, is_secret: bool) -> str:
    """One line. name: of the setting. is_secret: by its type; by its name too many are, and in a URL what comes before the host.

    The path of a webhook is what lets a caller in, so nothing of it is shown.
    """
    if is_secret or is_secret_name(name):
        return MASK
    text = printable(value, LONGEST)
    if "://" not in text:
        return text
    return _origin(text) if "webhook" in name.lower() else masked_url(text)


def is_secret_name(name: str) -> bool:
    """Whether a setting or a parameter of this name holds a secret, as far as the name tells."""
    return name.lower() not in _NO_SECRET and _SECRET.search(name) is not None


def masked_url(url: str) -> str:
    """Without passwords and tokens. Whatever stands between :// and the last @ lets somebody in; Postgres's user is shown."""
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
    """Of Postgres's parameters most are not secret, and help to see what is wrong."""
    name, equals, _ = parameter.partition("=")
    return parameter if is_postgres and equals and not is_secret_name(name) else f"{name}{equals}{MASK if equals else ''}"


def _origin(url: str) -> str:
    masked = masked_url(url)
    scheme, _, rest = masked.partition("://")
    host, slash, _ = rest.partition("/")
    return f"{scheme}://{host}{slash}{MASK if slash else ''}"
