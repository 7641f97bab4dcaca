"""The proxy between this machine and a CRM: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

They are settings like all others, so they may be in .env or in a systemd credential, where a password belongs, and are read again
on a reload. aiohttp's own support reads only the environment, ignores ALL_PROXY, and takes keys from ~/.netrc.
"""

import base64
import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from yarl import URL

from crm_sync.errors import ConfigurationError
from crm_sync.settings import ProxySettings

SCHEMES = ("http", "https")


class Proxy(NamedTuple):
    """url: without user and password. credentials: for the header Proxy-Authorization. secrets: to be masked. setting: the one
    that set it.
    """

    url: URL
    credentials: str | None
    secrets: tuple[str, ...]
    setting: str

    def __str__(self) -> str:
        """For people."""
        return f"the proxy {str(self.url).rstrip('/')} ({self.setting})"


def proxy_for(base_url: str, settings: ProxySettings) -> Proxy | None:
    """None if this URL is reached directly. Raises ConfigurationError with the name of a setting that cannot be used."""
    try:
        target = urlsplit(base_url)
        scheme, host, port = target.scheme, target.hostname or "", target.port
    except ValueError:
        return None  # not a URL, which is reported elsewhere
    given = {
        "HTTPS_PROXY": settings.https_proxy if scheme == "https" else None,
        "HTTP_PROXY": settings.http_proxy if scheme == "http" else None,
        "ALL_PROXY": settings.all_proxy,
    }
    setting, value = next(((name, value) for name, value in given.items() if value is not None), ("", None))
    if value is None or _is_loopback(host) or _is_excepted(host, port or {"http": 80, "https": 443}[scheme], settings.no_proxy):
        return None
    return _parsed(setting, value.get_secret_value().strip())


def _parsed(setting: str, value: str) -> Proxy:
    # As curl reads it, because the scheme is often left out.
    text = value if "://" in value else f"http://{value}"
    scheme = text.partition("://")[0].lower()
    if scheme not in SCHEMES:
        advice = "take an HTTP proxy, or name this CRM's host in NO_PROXY"
        raise ConfigurationError(f"{setting}: crm-sync cannot use a {scheme if scheme.isalnum() else 'foreign'} proxy: {advice}")
    try:
        url = URL(text)
        user, password, host, port = url.user, url.password, url.host, url.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ConfigurationError(f"{setting}: expected a URL such as http://user:password@proxy.example.com:3128")
    credentials = None
    secrets: tuple[str, ...] = ()
    if user is not None or password is not None:
        key = base64.b64encode(f"{user or ''}:{password or ''}".encode()).decode()
        credentials = f"Basic {key}"
        secrets = tuple(filter(None, (key, password, url.raw_password)))
    return Proxy(URL.build(scheme=scheme, host=host, port=port), credentials, secrets, setting)


def _is_loopback(host: str) -> bool:
    """Loopback is never reached through a proxy."""
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """Matches a host (including its subdomains), an address or a network, each with or without a port, or `*` for all."""
    return any(_fits(entry.strip().lower(), host, port) for entry in no_proxy.replace(" ", ",").split(",") if entry.strip())


def _fits(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted = entry, ""
    if entry.startswith("["):
        name, _, wanted = entry[1:].partition("]")
        wanted = wanted.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, wanted = entry.partition(":")
    if wanted and wanted != str(port):
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").lstrip(".").rstrip(".")
    host = host.rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
