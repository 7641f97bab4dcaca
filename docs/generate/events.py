"""Every log event: its level and fields from the calls that log it, its meaning from events.toml."""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import crm_sync
from crm_sync import events
from crm_sync.telling.events_log import KEPT
from docs.generate.tables import code, table

_LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error"}
EVENTS = {name: value for name, value in vars(events).items() if name.isupper()}


def event_table() -> str:
    meanings = tomllib.loads((Path(__file__).parent / "events.toml").read_text(encoding="utf-8"))
    if unknown := meanings.keys() - set(EVENTS.values()):
        raise ValueError(f"docs/generate/events.toml explains events that do not exist: {', '.join(sorted(unknown))}")
    if missing := set(EVENTS.values()) - meanings.keys():
        raise ValueError(f"docs/generate/events.toml lacks: {', '.join(sorted(missing))}")
    logged = _calls()
    rows = [
        [
            code(event),
            ", ".join(sorted(logged[name][0])),
            "yes" if event in KEPT else "no",
            ", ".join(map(code, sorted(logged[name][1]))),
            meanings[event],
        ]
        for name, event in sorted(EVENTS.items(), key=lambda item: item[1])
    ]
    return table(["event", "level", "kept", "fields", "meaning"], rows)


def _calls() -> Mapping[str, tuple[set[str], set[str]]]:
    """By the name of the event: at which levels, and with which fields it is logged."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for path in sorted(Path(crm_sync.__path__[0]).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=level),
                    args=[ast.Attribute(value=ast.Name(id="events"), attr=name), *_],
                    keywords=keywords,
                ) if level in _LEVELS:
                    levels, fields = found[name]
                    levels.add(_LEVELS[level])
                    fields.update(keyword.arg for keyword in keywords if keyword.arg is not None)
    return found


PARTS: Mapping[str, Callable[[], str]] = {"log-events": event_table}
