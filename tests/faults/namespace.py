"""Network namespaces: machines of a test network on which real packets can be dropped. Needs root."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
OURS = Path("/proc/thread-self/ns/net")
_numbers = count(1)


def _unavailable() -> str:
    """Why there can be none here, empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    name = f"crm-sync-{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        return "this machine allows no network namespaces"
    try:
        run("ip", "netns", "exec", name, "iptables", "-w", "-L")
    except (OSError, subprocess.CalledProcessError):
        return "this machine allows no packet filter"
    finally:
        run("ip", "netns", "del", name)
    return ""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


UNAVAILABLE = _unavailable()


class Namespace:
    """A machine with its own network, not connected to anything."""

    def __init__(self) -> None:
        self.name = f"crm-sync-{os.getpid()}-{next(_numbers)}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> None:
        run("ip", "-n", self.name, *arguments)

    def join(self, other: "Namespace", own: str, *others: str) -> None:
        """Connects it to another one with these addresses, each with its prefix length."""
        here, there = f"c{os.getpid()}a", f"c{os.getpid()}b"
        self.ip("link", "add", here, "type", "veth", "peer", there, "netns", other.name)
        self.ip("address", "add", own, "dev", here)
        for address in others:
            other.ip("address", "add", address, "dev", there)
        self.ip("link", "set", here, "up")
        other.ip("link", "set", there, "up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets opened and processes started meanwhile by this thread are in here, and stay here."""
        before = os.open(OURS, os.O_RDONLY)
        inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(inside)
            yield
        finally:
            _enter(before)
            os.close(inside)
            os.close(before)

    def drop(self, address: str) -> None:
        """Silently drops everything to and from this address."""
        self._filter("-A", address)

    def heal(self, address: str) -> None:
        self._filter("-D", address)

    def remove(self) -> None:
        run("ip", "netns", "del", self.name)

    def _filter(self, action: str, address: str) -> None:
        for chain, side in (("INPUT", "-s"), ("OUTPUT", "-d")):
            run("ip", "netns", "exec", self.name, "iptables", "-w", action, chain, side, address, "-j", "DROP")


def _enter(namespace: int) -> None:
    if LIBC.setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
