"""Charts as SVG, drawn here: no script, no style attributes, and all values are escaped.

They stretch to the width of the page, so their labels are HTML next to them, and lines keep their thickness.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from crm_sync.api.lane_models import MinuteCount, Throughput
from crm_sync.core.durations import span

HEIGHT = 100
MINUTES = 60
FASTEST_S = 0.001  # the lower end of a latency chart, which is logarithmic

_SVG = Markup(
    '<svg class="{kind}" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{label}">{drawn}</svg>'
)
_BAR = Markup('<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"><title>{title}</title></rect>')
_LINE = Markup('<polyline class="{kind}" points="{points}" vector-effect="non-scaling-stroke"/>')


@dataclass(frozen=True, slots=True)
class Chart:
    """svg, and the labels next to it. top: the value at the upper edge. first, last: when it begins and ends."""

    svg: Markup
    top: str
    first: datetime
    last: datetime

    @property
    def is_short(self) -> bool:
        """A day or less, so that the time of day is enough."""
        return self.last - self.first <= timedelta(days=1)


def sparkline(minutes: Sequence[MinuteCount], crm: str) -> Markup:
    """The last hour, one bar per minute."""
    most = max((one.delivered + one.failed for one in minutes), default=0)
    delivered, failed = sum(one.delivered for one in minutes), sum(one.failed for one in minutes)
    label = f"{crm}, the last hour: {delivered:,} delivered, {failed:,} failed"
    drawn = Markup("").join(
        _stacked(MINUTES - 1 - one.minutes_ago, one.delivered, one.failed, most, f"{one.minutes_ago} min ago")
        for one in minutes
        if 0 <= one.minutes_ago < MINUTES
    )
    return _SVG.format(kind="sparkline", width=MINUTES, height=HEIGHT, label=label, drawn=drawn)


def throughput_chart(read: Throughput) -> Chart:
    """Contacts delivered and failed, one bar per stretch."""
    most = max((one.delivered + one.retried + one.rejected for one in read.stretches), default=0)
    delivered = sum(one.delivered for one in read.stretches)
    failed = sum(one.retried + one.rejected for one in read.stretches)
    first = _first(read)
    drawn = Markup("").join(
        _stacked(
            _place(read, first, one.at),
            one.delivered,
            one.retried + one.rejected,
            most,
            f"{one.at.astimezone(UTC):%d %b %H:%M} UTC",
        )
        for one in read.stretches
    )
    label = f"{delivered:,} contacts delivered and {failed:,} failed"
    svg = _SVG.format(kind="chart", width=read.count, height=HEIGHT, label=label, drawn=drawn)
    return Chart(svg, f"{most:,} in {span(read.seconds)}", first, read.read_at)


def latency_chart(read: Throughput) -> Chart | None:
    """From flip to delivery: the median and the 95th percentile. None if nothing was delivered."""
    known = [one for one in read.stretches if one.median_seconds is not None]
    if not known:
        return None
    top = max(one.p95_seconds or 0.0 for one in known)
    first = _first(read)
    lines = (("p95", [one.p95_seconds for one in known]), ("median", [one.median_seconds for one in known]))
    places = [_place(read, first, one.at) + 0.5 for one in known]
    drawn = Markup("").join(_line(kind, places, values, top) for kind, values in lines)
    label = f"From flip to delivery: the median was at most {_seconds(max(one.median_seconds or 0.0 for one in known))}"
    svg = _SVG.format(kind="chart", width=read.count, height=HEIGHT, label=label, drawn=drawn)
    return Chart(svg, _seconds(top), first, read.read_at)


def _stacked(place: int, delivered: int, failed: int, most: int, when: str) -> Markup:
    """Failures on top."""
    title = f"{when}: {delivered:,} delivered, {failed:,} failed"
    good, bad = (HEIGHT * count / most if most else 0.0 for count in (delivered, failed))
    bars = [("good", HEIGHT - good, good), ("bad", HEIGHT - good - bad, bad)]
    return Markup("").join(
        _BAR.format(kind=kind, x=place + 0.1, y=_number(y), width=0.8, height=_number(height), title=title)
        for kind, y, height in bars
        if height
    )


def _line(kind: str, places: Sequence[float], values: Iterable[float | None], top: float) -> Markup:
    heights = [_height(value or FASTEST_S, top) for value in values]
    if len(heights) == 1:  # a line needs two ends
        places, heights = [places[0] - 0.5, places[0] + 0.5], heights * 2
    points = " ".join(f"{_number(x)},{_number(HEIGHT - height)}" for x, height in zip(places, heights, strict=True))
    return _LINE.format(kind=kind, points=points)


def _height(value: float, top: float) -> float:
    """On a logarithmic scale, because latencies range from milliseconds to hours."""
    steps = math.log10(top / FASTEST_S)
    return (HEIGHT - 4) * math.log10(max(value, FASTEST_S) / FASTEST_S) / steps + 2 if steps > 0 else HEIGHT / 2


def _first(read: Throughput) -> datetime:
    now = read.read_at.timestamp()
    return datetime.fromtimestamp(now - now % read.seconds - read.seconds * (read.count - 1), UTC)


def _place(read: Throughput, first: datetime, at: datetime) -> int:
    return int((at - first).total_seconds() // read.seconds)


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else span(value)


def _number(value: float) -> str:
    return f"{value:.2f}"
