"""The last line of defence of a worker that was told to stop: after its time it ends, whatever holds it up.

Every wait on the way to the end has a limit of its own, so this is for what no one thought of: a fault of ours, of a driver, or
of a client from another package. What is claimed goes back in line as if the worker had been killed.

It is a thread, because the event loop may be what is held up, and one that waits from the beginning, because the signal may come
when it is already. For what lets no other thread run there is Python's own watchdog, which needs none: it writes the stacks.
"""

import asyncio
import faulthandler
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import CodeType
from typing import Any

import structlog

from crm_sync import events

EXIT_OVERDUE = 1
MOST_NAMED = 20
TELLING_S = 1.0
STDERR = 2

log = structlog.get_logger()

InFlight = Callable[[], Mapping[str, int]]


class LastResort:
    """Within the event loop that it is made in, and in its thread. leave: ends the process at once, with this exit code."""

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._thread_of_loop = threading.get_ident()
        self._ends_at = math.inf
        self._armed: SimpleQueue[tuple[float, InFlight]] = SimpleQueue()
        threading.Thread(target=self._wait, daemon=True).start()

    def arm(self, seconds: float, in_flight: InFlight) -> None:
        """The process ends in this many seconds, if it has not by then. This can be brought forward, but not put off.

        A signal handler may call it, whatever it has interrupted: it waits for no lock.
        """
        ends_at = time.monotonic() + seconds
        if ends_at < self._ends_at:
            self._ends_at = ends_at
            self._armed.put((seconds, in_flight))
            faulthandler.dump_traceback_later(seconds + 2 * TELLING_S, exit=True, file=STDERR)

    def _wait(self) -> None:
        seconds, in_flight = self._armed.get()
        while True:
            try:
                seconds, in_flight = self._armed.get(timeout=seconds)
            except Empty:
                break
        # In a thread, because a log that no one reads may be what holds it up.
        telling = threading.Thread(target=self._tell, args=(seconds, in_flight), daemon=True)
        try:
            telling.start()
            telling.join(TELLING_S)
        finally:
            self._leave(EXIT_OVERDUE)

    def _tell(self, seconds: float, in_flight: InFlight) -> None:
        held_up = self._held_up()
        left = {crm: contacts for crm, contacts in in_flight().items() if contacts}
        note = "the worker ends now; what it had in flight goes back in line"
        log.error(events.STOP_OVERDUE, after_s=seconds, in_flight=left, held_up=held_up, note=note)

    def _held_up(self) -> list[str]:
        """What keeps the event loop busy, then what runs still, by name. Read from another thread: it may change meanwhile, and
        then a part of it will do.
        """
        busy = self._busy()
        try:
            running = Counter(_name(task) for task in asyncio.all_tasks(self._loop))
        except RuntimeError:
            return busy
        return [*busy, *(name for name, _ in running.most_common(MOST_NAMED))]

    def _busy(self) -> list[str]:
        """The innermost function that a task is in, if one keeps the event loop."""
        frame = sys._current_frames().get(self._thread_of_loop)
        if frame is None or asyncio.current_task(self._loop) is None:
            return []
        return [_place(frame.f_code, frame.f_lineno)]


def _name(task: asyncio.Task[Any]) -> str:
    """As we have named it, or what it runs, and where that waits: never what it works on."""
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    frames = task.get_stack(limit=1)
    return f"{name}, line {frames[-1].f_lineno}" if frames else name


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_qualname}, line {line}"
