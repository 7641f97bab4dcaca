"""Notifies systemd: ready, reloading, stopping, a sentence for `systemctl status`, and that we are alive.

sd_notify(3) sends a datagram of lines to the socket in NOTIFY_SOCKET. Without that variable nothing is sent, and no task runs.

READY=1      the configuration is valid, and the loops run, even while they wait for the database
WATCHDOG=1   every half of WATCHDOG_USEC, from the event loop: a blocked loop sends nothing. Only while everything that
             `crm_sync.lane.watchdog` watches is moving. systemd kills and restarts a worker that sent nothing for WatchdogSec
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

LOOK_INTERVAL_S = 1.0  # maximum age of the sentence
LONGEST_SENTENCE = 300


class Notifier:
    """address: systemd's socket; None sends nothing. watchdog_s: systemd's timeout; None for no watchdog."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._watchdog_s = watchdog_s
        self._status = ""
        self._extended_until = 0.0
        self._socket: socket.socket | None = None
        if address:
            self._address = "\0" + address[1:] if address.startswith("@") else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A receiver that does not read must not block the worker.
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """The watchdog may be meant for another process of the service: WATCHDOG_PID says which."""
        interval = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(environment.get("NOTIFY_SOCKET"), int(interval) / 1e6 if ours and interval.isdigit() else None)

    def close(self) -> None:
        """Nothing is sent after this."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        # Type=notify-reload of systemd 253 requires the time; older versions ignore it.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")
        # A reload gets no less time than a stop: both drain the same way.
        if (left_s := self._extended_until - time.monotonic()) > 0:
            self._tell(f"EXTEND_TIMEOUT_USEC={left_s * 1e6:.0f}")

    def extend(self, seconds: float) -> None:
        """The current stop or reload may take this many seconds from now, whatever the unit says."""
        self._extended_until = time.monotonic() + seconds
        self._tell(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def status(self, sentence: str) -> None:
        """For people. Sent when it changes."""
        if sentence != self._status:
            self._status = sentence
            self._tell(f"STATUS={' '.join(sentence.split())[:LONGEST_SENTENCE]}")

    async def keep_informed(self, moving: Callable[[], bool], sentence: Callable[[], str]) -> None:
        """Sends the sentence, and that we are alive while everything moves, for as long as it runs."""
        if self._socket is None:
            return
        ping_interval_s = self._watchdog_s / 2 if self._watchdog_s else None
        next_ping = time.monotonic()
        while True:
            self.status(sentence())
            wait_s = LOOK_INTERVAL_S
            if ping_interval_s is not None:
                if moving() and time.monotonic() >= next_ping:
                    self._tell("WATCHDOG=1")
                    next_ping = time.monotonic() + ping_interval_s
                # Not moving: asked again soon, because it may only have been late.
                wait_s = min(wait_s, ping_interval_s, max(next_ping - time.monotonic(), ping_interval_s / 10))
            await asyncio.sleep(wait_s)

    def _tell(self, *lines: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)
