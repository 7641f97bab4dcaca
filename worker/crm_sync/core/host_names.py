"""Host names: the one a request was sent to, and whether it is one of ours.

A page on the internet can make its own name resolve to this machine (DNS rebinding) and have a local browser send requests. Such
a request names a host that is not ours.
"""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

# Names under these cannot be registered: RFC 6761, 6762 and 8375, ICANN's .internal, and Kubernetes's own.
_PRIVATE = (".local", ".internal", ".home.arpa", ".lan", ".svc")


def host_name(header: str) -> str | None:
    """The host of a Host header, without the port, in lower case; an IPv6 address without brackets. None if it is not valid."""
    try:
        return (urlsplit(f"//{header}").hostname or "").removesuffix(".") or None
    except ValueError:
        return None


def is_address(name: str) -> bool:
    """Whether it is an IP address: it cannot be made to resolve to this machine."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_private(name: str) -> bool:
    """Whether the name cannot exist on the internet: a single label, or a name under a domain reserved for private networks."""
    return "." not in name or name.endswith(_PRIVATE)


def is_ours(header: str, ours: Collection[str], *, is_loopback: bool) -> bool:
    """Whether a request with this Host header is accepted. ours: the configured names. is_loopback: only this machine can
    connect.

    IP addresses and localhost are accepted. On a network address, private names are accepted too.
    """
    name = host_name(header)
    if name is None:
        return False
    if is_address(name) or name in ours or name == "localhost" or name.endswith(".localhost"):
        return True
    return not is_loopback and is_private(name)
