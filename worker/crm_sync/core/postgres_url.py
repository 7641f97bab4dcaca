"""The grammar of a Postgres URL, as libpq defines it: parses one into its parameters.

Each driver has its own parser. asyncpg's ends the URL at a `#` in a password, reads `+` as a space, and takes what it cannot read
for a port, which it then prints; libpq's prints the whole URL, including the password, if it finds an error in it. So neither is
given the URL.

No message quotes any part of the URL: if it is malformed, whatever is in place of a host or a parameter may be part of the
password.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

FORM = "expected a URL such as postgresql://user@host:5432/database, or host=... user=... dbname=..."
_ESCAPES = "a reserved character is written as %2F for /, %40 for @, %3A for :, %23 for #, %3F for ? and %25 for %"
_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::([^:]*))?", re.DOTALL)


def parameters_of(url: str) -> dict[str, str]:
    """By libpq's names. Several hosts and their ports are comma-separated. Raises ValueError that says what is wrong."""
    scheme, separator, rest = url.partition("://")
    # SQLAlchemy writes the driver into the scheme: postgresql+asyncpg://
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError(FORM)
    authority, slash, tail = rest.partition("/")
    # A password may contain an @: the last one counts.
    user_and_password, _, hosts_and_more = authority.rpartition("@")
    user, _, password = user_and_password.partition(":")
    hosts_and_more += slash + tail
    hosts = re.split(r"[/?]", hosts_and_more, maxsplit=1)[0]
    rest = hosts_and_more[len(hosts) :]
    database, _, query = rest[1:].partition("?") if rest.startswith("/") else ("", "", rest[1:])
    if "@" in database:
        raise ValueError(f"an @ comes after the first /, so it may be part of the password: {_ESCAPES}")
    found = {
        **_hosts(hosts),
        "user": _decoded(user),
        "password": _decoded(password),
        "dbname": _decoded(database),
    }
    return {name: value for name, value in {**found, **_of_query(query)}.items() if value}


def url_of(parameters: Mapping[str, str]) -> str:
    """The URL with these parameters, all of them by name."""
    return "postgresql://?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())


def _hosts(text: str) -> dict[str, str]:
    hosts, ports = [], []
    for one in text.split(","):
        match = _HOST.fullmatch(one)
        if match is None:
            raise ValueError(f"a host is not valid. An IPv6 address is written in brackets: [::1]; in a password {_ESCAPES}")
        address, name, port = match.groups()
        hosts.append(_decoded(address if address is not None else name))
        ports.append(_decoded(port or ""))
    if len(hosts) > 1 and not all(hosts):
        raise ValueError("one of several hosts is empty")
    return {"host": ",".join(hosts) if any(hosts) else "", "port": ",".join(ports) if any(ports) else ""}


def _of_query(query: str) -> dict[str, str]:
    """If a name occurs twice, the last one counts."""
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, separator, value = part.partition("=")
        if not separator or not name:
            raise ValueError(f"parameters after the ? are written name=value, separated by &; {_ESCAPES}")
        found[_decoded(name)] = _decoded(value)
    return found


def _decoded(text: str) -> str:
    """A + is kept: it means a space only in web forms."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"a % is not followed by two digits: {_ESCAPES}")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("the percent-encoded text is not valid UTF-8") from None
    if "\0" in decoded:
        raise ValueError("it has a NUL character")
    return decoded
