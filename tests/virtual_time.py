"""Coroutines in virtual time: no wait takes any time, and a deadlock fails at once."""

import asyncio
import itertools
import selectors
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

TICK_S = 1e-9  # between two readings of the clock, so that no two are the same


class _Selector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits, and nothing will happen"
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        self.readings = itertools.count()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def monotonic() -> float:
    """In place of time.monotonic()."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    return loop.time() + next(loop.readings) * TICK_S


def freeze(seconds: float) -> None:
    """The process stands still for this long: whoever waits is late."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    loop.selector.now += seconds


def run(coroutine: Coroutine[Any, Any, Any], *modules: str) -> Any:
    """Its result. modules: those that read the virtual clock instead of `time`."""
    with asyncio.Runner(loop_factory=_Loop) as runner, pytest.MonkeyPatch.context() as patched:
        for module in modules:
            patched.setattr(f"{module}.time", SimpleNamespace(monotonic=monotonic))
        return runner.run(coroutine)
