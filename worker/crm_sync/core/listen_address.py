"""Where a server listens: an address of this machine with a port, or a Unix socket."""

import re
from ipaddress import ip_address
from typing import NamedTuple

EXPECTED = "expected an address and a port, such as 127.0.0.1:9464 or [::1]:9464, or the path of a Unix socket that begins with /"
LONGEST_PATH = 107  # bytes: the room that Linux has, including the terminating zero
_TCP = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|(localhost)):([0-9]{1,5})")


class ListenAddress(NamedTuple):
    """host and port, or path."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, *, free_port: bool = False) -> "ListenAddress":
        """Host names other than localhost are not accepted, because what they resolve to can change. free_port: 0 means any free
        port.

        Raises ValueError that shows the right form.
        """
        if text.startswith("/"):
            if len(text.encode()) > LONGEST_PATH or "\0" in text or text.endswith("/"):
                raise ValueError(f"{EXPECTED}; a path has {LONGEST_PATH} bytes at most")
            return cls(path=text)
        found = _TCP.fullmatch(text)
        if found is None or not (0 if free_port else 1) <= int(found[4]) < 65536:
            raise ValueError(EXPECTED)
        host = found[1] or found[2] or "127.0.0.1"
        try:
            version = ip_address(host).version
        except ValueError:
            raise ValueError(EXPECTED) from None
        if (version == 6) != bool(found[1]):
            raise ValueError(EXPECTED)
        return cls(host, int(found[4]))
