"""The last line of defence of a worker that was told to stop: after its time it ends, whatever holds it up.

Every wait on the way to the end has a limit of its own, so this is for what no one thought of: a fault of ours, of a driver, or
of a client from another package. What is claimed goes back in line as if the worker had been killed. It is a thread, because the
event loop may be what is held up.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from crm_sync import events

EXIT_OVERDUE = 1
MOST_NAMED = 20
TELLING_S = 1.0

log = structlog.get_logger()


class LastResort:
    """Within the event loop that it is made in. leave: ends the process at once, with this exit code."""

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._timer: threading.Timer | None = None

    def arm(self, seconds: float, in_flight: Callable[[], Mapping[str, int]]) -> None:
        """The process ends in this many seconds, if it has not by then. Once armed it cannot be put off."""
        if self._timer is None:
            self._timer = threading.Timer(seconds, self._strike, (seconds, in_flight))
            self._timer.daemon = True
            self._timer.start()

    def _strike(self, seconds: float, in_flight: Callable[[], Mapping[str, int]]) -> None:
        # In a thread, because a log that no one reads may be what holds it up.
        telling = threading.Thread(target=self._tell, args=(seconds, in_flight), daemon=True)
        try:
            telling.start()
            telling.join(TELLING_S)
        finally:
            self._leave(EXIT_OVERDUE)

    def _tell(self, seconds: float, in_flight: Callable[[], Mapping[str, int]]) -> None:
        held_up = self._held_up()
        left = {crm: contacts for crm, contacts in in_flight().items() if contacts}
        note = "the worker ends now; what it had in flight goes back in line"
        log.error(events.STOP_OVERDUE, after_s=seconds, in_flight=left, held_up=held_up, note=note)

    def _held_up(self) -> list[str]:
        """What runs still, by name. Read from another thread: it may change meanwhile, and then a part of it will do."""
        try:
            running = Counter(_name(task) for task in asyncio.all_tasks(self._loop))
        except RuntimeError:
            return []
        return [name for name, _ in running.most_common(MOST_NAMED)]


def _name(task: asyncio.Task[Any]) -> str:
    """As we have named it, or what it runs, and where that waits: never what it works on."""
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    frames = task.get_stack(limit=1)
    return f"{name}, line {frames[-1].f_lineno}" if frames else name
