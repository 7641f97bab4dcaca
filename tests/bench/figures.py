"""Figures from measurements: percentiles, medians over repeats, and a table with one system per row."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, float]


def percentile(samples: Iterable[float], percent: float) -> float:
    """The nearest rank: the smallest sample that at least `percent` of all samples do not exceed. Always a measured value."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("a percentile of no samples")
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def p50(samples: Iterable[float]) -> float:
    return percentile(samples, 50)


def p99(samples: Iterable[float]) -> float:
    return percentile(samples, 99)


def medians(repeats: Sequence[Figures]) -> dict[str, float]:
    """The median of each figure over the repeats that have it, in the order of their first mention."""
    names = dict.fromkeys(name for repeat in repeats for name in repeat)
    return {name: statistics.median(repeat[name] for repeat in repeats if name in repeat) for name in names}


def shown(value: float) -> str:
    """Numbers from 100 on as integers with thousands separators, others with two significant digits: 11,600 and 4.8 and 0.42."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def table(title: str, columns: Sequence[str], rows: Mapping[str, Figures | str]) -> Table:
    """Rows are systems and columns are figures. A row that is a text is a system that was not measured."""
    result = Table(title=title, title_justify="left")
    result.add_column("system")
    for column in columns:
        result.add_column(column, justify="right")
    for system, figures in rows.items():
        known = {} if isinstance(figures, str) else figures
        result.add_row(system, *(shown(known[column]) if column in known else "-" for column in columns))
    return result


def show(title: str, columns: Sequence[str], rows: Mapping[str, Figures | str]) -> None:
    """Prints the table, and below it why a system was not measured."""
    console = Console()
    console.print(table(title, columns, rows))
    for system, reason in rows.items():
        if isinstance(reason, str):
            console.print(f"{system}: {reason}", markup=False, highlight=False)
