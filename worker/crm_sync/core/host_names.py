"""The name by which a request reaches a server of ours, and whether it is one of ours.

A page on the internet can make its own name lead to this machine (DNS rebinding), and have a browser here ask: such a request
names a host that is not ours.
"""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

# Nobody can register a name below these: RFC 6761, 6762 and 8375, ICANN's .internal, and Kubernetes's own.
_PRIVATE = (".local", ".internal", ".home.arpa", ".lan", ".svc")


def host_name(header: str) -> str | None:
    """Of a Host header, without its port, in small letters; an IPv6 address without brackets. None where it is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").removesuffix(".") or None
    except ValueError:
        return None


def is_address(name: str) -> bool:
    """Whether it is an IP address: it leads where it says, so nobody can have made it lead here."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_private(name: str) -> bool:
    """Whether nobody on the internet can have this name: of one label, or below what is kept for networks of one's own."""
    return "." not in name or name.endswith(_PRIVATE)


def is_ours(header: str, ours: Collection[str], *, is_loopback: bool) -> bool:
    """Whether somebody may ask by this Host header. ours: names as they are set. is_loopback: only this machine can ask.

    An address may, and localhost. In a network, a name may that nobody outside of it can have.
    """
    name = host_name(header)
    if name is None:
        return False
    if is_address(name) or name in ours or name == "localhost" or name.endswith(".localhost"):
        return True
    return not is_loopback and is_private(name)
