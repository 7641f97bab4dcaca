"""Renders pages from templates. All values are text and are escaped; no template may override that."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2

from crm_sync import __version__
from crm_sync.api.lane_models import Alert
from crm_sync.api.references import References
from crm_sync.console.event_details import told
from crm_sync.console.moments import moment
from crm_sync.core.alert import Condition, how_many
from crm_sync.core.codes import Code, known_code
from crm_sync.core.durations import span

FOLDER = Path(__file__).parent
NONE = "\N{EN DASH}"
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
LONGEST_SHOWN = 60  # characters of a key in a table


class Pages:
    """base: the path under which a proxy serves us. references: represent contacts in links."""

    def __init__(self, base: str, references: References) -> None:
        self.base = base
        self._references = references
        self.shown, self.reference = references.shown, references.again
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(url=self.url, page_of=self.page_of, static=self.static, version=__version__)
        self._environment.filters.update(
            shown=references.shown,
            count=_count,
            span=_span,
            ago=_ago,
            moment=_moment,
            machine=_machine,
            short=_short,
            glyph=_glyph,
            tone=_tone,
            capital=_capital,
            quick=_quick,
            details=told,
            how_many=_how_many,
            known_code=_known_code,
        )

    def url(self, path: str, **parameters: object) -> str:
        """Within the console."""
        return f"{self.base}{quote(path, safe='/')}{_asked(parameters)}"

    def page_of(self, key: str, *rest: str, page: str = "contacts", **parameters: str | None) -> str:
        """The page of one contact, by its key or a reference: paths never contain an address, because browsers and proxies store
        them.

        It is a single path segment, whatever it contains: otherwise a browser would turn `a/../b` into the page of `b`.
        """
        named = self._references.again(key)
        path = "/".join((f"{self.base}/{page}", quote(named, safe=""), *(quote(part, safe="") for part in rest)))
        return f"{path}{_asked(parameters)}"

    def static(self, name: str) -> str:
        """With its digest, so that browsers may keep it for good."""
        return f"{self.base}/static/{name}?v={_digest(name)}"

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        return self._environment.get_template(template).render(values)


def _asked(parameters: Mapping[str, object]) -> str:
    """The query of a URL, without what is None."""
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def _span(seconds: float | None) -> str:
    return NONE if seconds is None else span(max(0.0, seconds))


def _ago(moment: datetime | None, now: datetime) -> str:
    """In the largest unit; the page has the exact time next to it."""
    if moment is None:
        return "never"
    seconds = max(0.0, (now - moment).total_seconds())
    unit, name = next(((unit, name) for unit, name in UNITS if seconds >= unit), UNITS[-1])
    return f"{seconds // unit:.0f} {name} ago"


def _moment(at: datetime | None) -> str:
    return NONE if at is None else moment(at)


def _machine(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _how_many(alert: Alert) -> str:
    condition = next((one for one in Condition if one.value == alert.alert), None)
    return f"{alert.count:,} {alert.counted}" if condition is None else how_many(condition, alert.count)


def _known_code(text: str | None) -> Code | None:
    return known_code(text or "")


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _quick(seconds: float | None) -> str:
    """For durations that may be milliseconds."""
    if seconds is None:
        return NONE
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


# A state is shown by its word and a shape; the colour only helps.
_GLYPHS = {
    "delivering": "●",
    "throttled": "◐",
    "probing": "◔",
    "paused": "❚❚",
    "faulty": "▲",
    "down": "■",
    "no worker": "▲",
    "stalled": "▲",
    "idle": "○",
    "Complete": "●",
    "Error": "■",
    "Queued": "◔",
    "Processing": "◐",
    "New": "○",
    "Selected": "◇",
    "Skipped": "□",
    # About a contact in one CRM.
    "delivered": "●",
    "overtaken": "●",
    "refused": "■",
    "misconfigured": "▲",
    "in line": "◔",
    "waiting": "◔",
    "unseen": "◔",
    "in flight": "◐",
    "deleted": "✕",
    "withdrawn": "□",
}
_TONES = {
    "delivering": "good",
    "throttled": "wait",
    "probing": "wait",
    "faulty": "bad",
    "down": "bad",
    "no worker": "wait",
    "stalled": "bad",
    "Complete": "good",
    "Error": "bad",
    "Queued": "wait",
    "Processing": "wait",
    "delivered": "good",
    "overtaken": "good",
    "refused": "bad",
    "misconfigured": "bad",
    "in line": "wait",
    "waiting": "wait",
    "unseen": "wait",
    "in flight": "wait",
}


def _glyph(state: str) -> str:
    return _GLYPHS.get(state, "○")


def _tone(state: str) -> str:
    return _TONES.get(state, "still")
