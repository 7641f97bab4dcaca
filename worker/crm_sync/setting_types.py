"""The types of settings: what each takes, and what it says of a value that it does not take."""

import re
import shlex
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from crm_sync.core.connection_string import ConnectionString
from crm_sync.core.keyword_string import is_keyword_string, pairs_of
from crm_sync.core.listen_address import ListenAddress
from crm_sync.core.postgres_url import parameters_of, url_of
from crm_sync.core.rate import parse
from crm_sync.service_file import read_service

_SCHEMA = r'(?:"(?:[^"\0]|"")+"|[A-Za-z_][A-Za-z0-9_]*)'  # a name as SQL writes it


def _postgres_url(text: str) -> str:
    """As a URL, of what both drivers support, without a service: that is looked up once."""
    url = url_of(pairs_of(text)) if is_keyword_string(text) else text
    service = parameters_of(url).get("service")
    connection = ConnectionString.parse(url, None if service is None else read_service(service))
    return f"postgresql://{url.partition('://')[2]}" if service is None else connection.url


PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]


def _schemas(text: str) -> str:
    schemas(text)  # raises ValueError
    return text


def schemas(text: str) -> tuple[str, ...]:
    """The names of a list in SQL syntax: public, "My Schema". Raises ValueError."""
    if not text:
        return ()
    if not re.fullmatch(rf"\s*{_SCHEMA}(?:\s*,\s*{_SCHEMA})*\s*", text):
        raise ValueError('expected comma-separated schemas, such as public, "My Schema"')
    names = tuple(name[1:-1].replace('""', '"') if name.startswith('"') else name.lower() for name in re.findall(_SCHEMA, text))
    if "$user" in names:
        raise ValueError("expected schema names: a mapping is the same for every role")
    return names


SchemaNames = Annotated[str, AfterValidator(_schemas)]


def _listen(text: str) -> str:
    ListenAddress.parse(text)  # raises ValueError
    return text


ListenText = Annotated[str, AfterValidator(_listen)]


def _limits(text: str) -> str:
    parse(text)  # raises ValueError
    return text


Limits = Annotated[str, AfterValidator(_limits)]


def _key(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("expected printable ASCII only: no whitespace, typographic quotes or dashes, control characters")
    if re.fullmatch(r"([\"']).*\1", value):
        raise ValueError("expected no quotes around it: Docker's --env-file and credentials keep them")
    return secret


def _password(secret: SecretStr) -> SecretStr:
    if any(ord(character) < 32 or ord(character) == 127 for character in secret.get_secret_value()):
        raise ValueError("expected no control characters, such as a line break or a tab")
    return secret


# Values sent in a header unchanged: a token, an API key.
Key = Annotated[SecretStr, AfterValidator(_key)]
# Values that people choose: any characters except control characters.
Password = Annotated[SecretStr, AfterValidator(_password)]


def listed(text: str) -> list[str]:
    """The parts of a comma-separated list, in lower case."""
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def _names(text: str) -> str:
    for name in listed(text):
        if not re.fullmatch(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]", name):
            raise ValueError("expected host names separated by commas, without ports: crm.example.com")
    return text


# Names under which one of our servers is reached.
HostNames = Annotated[str, AfterValidator(_names)]


def host_and_port(text: str) -> tuple[str, int | None]:
    """(host, port), None for any port. Raises ValueError with the right form."""
    right = "expected comma-separated hosts, such as n8n, n8n:5678 or [fd00::1]:5678: no URLs"
    with suppress(ValueError):
        return str(ip_address(text)), None  # IPv6 without brackets has no port
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(right) from None
    if host is None or parts.netloc != text or parts.username is not None or not re.fullmatch(r"[\w.:-]+", host) or port == 0:
        raise ValueError(right)
    return host, port


def _hosts(text: str) -> str:
    for host in listed(text):
        host_and_port(host)
    return text


# Servers that are called, with a port or with any.
Hosts = Annotated[str, AfterValidator(_hosts)]


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"expected a program and its arguments, as a shell takes them: {error}") from None
    if not words:
        raise ValueError("expected a program and its arguments")
    return text


CommandLine = Annotated[str, AfterValidator(_command)]
