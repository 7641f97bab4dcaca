"""What a scenario measures against a bound: the run reports broken promises, and fails."""

from collections.abc import Sequence
from typing import NamedTuple


class Promise(NamedTuple):
    """figure and bound: as shown; bound is empty for figures without one."""

    what: str
    figure: str
    bound: str = ""
    held: bool = True


def at_most(what: str, figure: float, bound: float, unit: str = "", digits: int = 0) -> Promise:
    return Promise(what, _shown(figure, unit, digits), f"at most {_shown(bound, unit, digits)}", figure <= bound)


def at_least(what: str, figure: float, bound: float, unit: str = "", digits: int = 0) -> Promise:
    return Promise(what, _shown(figure, unit, digits), f"at least {_shown(bound, unit, digits)}", figure >= bound)


def exactly(what: str, figure: int, bound: int) -> Promise:
    return Promise(what, f"{figure:,}", f"{bound:,}", figure == bound)


def told(what: str, figure: float, unit: str = "", digits: int = 0) -> Promise:
    return Promise(what, _shown(figure, unit, digits))


def broken(promises: Sequence[Promise]) -> list[str]:
    return [f"{promise.what}: {promise.figure}, {promise.bound}" for promise in promises if not promise.held]


def _shown(value: float, unit: str, digits: int) -> str:
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"
