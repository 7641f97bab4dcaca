"""Failure codes: a page each, and tables of them. Anything longer than a sentence is in codes.toml."""

import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from crm_sync.core.codes import OF_DELIVERED, Code
from docs.generate.tables import sentence, table, wrapped

_FAULTS = ("the contact", "the CRM", "the configuration", "the database", "the worker", "the network", "nobody")


def pages() -> dict[str, str]:
    """By file name without its suffix."""
    return {**{code.value: _page(code, explained(code)) for code in Code}, "index": _index()}


def explained(code: Code) -> Mapping[str, Any]:
    """From codes.toml: fault, cause, and steps. Raises ValueError with what is missing."""
    entries = tomllib.loads((Path(__file__).parent / "codes.toml").read_text(encoding="utf-8"))
    if unknown := entries.keys() - set(Code):
        raise ValueError(f"docs/generate/codes.toml explains codes that do not exist: {', '.join(sorted(unknown))}")
    entry: Mapping[str, Any] = entries.get(code.value, {})
    if entry.get("fault") not in _FAULTS or not entry.get("cause") or not entry.get("steps"):
        raise ValueError(f"docs/generate/codes.toml needs [{code}] with cause, steps, and as fault one of: {', '.join(_FAULTS)}")
    return entry


def _page(code: Code, entry: Mapping[str, Any]) -> str:
    where = (
        "It stops the lane of the CRM and marks no contact. The code is in the log, in `crm-sync status` and in `crm_sync.lanes`."
        if code.lane
        else "It is in the contact's `processing_error`, in the log and in `crm-sync failed`."
    )
    rows = [
        ["meaning", sentence(code.meaning)],
        ["at fault", sentence(entry["fault"])],
        ["what to do", sentence(code.remedy)],
        ["retried", _retried(code)],
        ["where you see it", where],
    ]
    steps = "".join(f"{wrapped(f'{number}. {step}', '   ')}\n" for number, step in enumerate(entry["steps"], 1))
    commands = f"crm-sync errors {code}\n" + ("crm-sync status\n" if code.lane else f"crm-sync failed --code {code}\n")
    return (
        f"# {code}\n\n{table(['', ''], rows)}\n## Cause\n\n{wrapped(entry['cause'])}\n\n## What to do\n\n{steps}\n"
        f"```sh\n{commands}```\n\n[All failure codes](index.md)\n"
    )


def _retried(code: Code) -> str:
    if code.lane:
        return "Yes, without limit: the lane probes the CRM until it works again."
    if code is Code.TRIGGER_LOOP:
        return "Yes, without limit, as long as the trigger flips it."
    if code.retried:
        return "Yes, until `SYNC_MAX_RETRIES` is used up. Then the contact is in Error."
    return "No: the contact is Complete." if code in OF_DELIVERED else "No. The contact is in Error until it is flipped again."


def _index() -> str:
    listed = "".join(f"{code}\n" for code in Code)
    text = (Path(__file__).parent / "codes_index.txt").read_text(encoding="utf-8")
    for name, made in PARTS.items():
        text = text.replace(f"<!-- {name} -->\n", made())
    return f"{text}\n```{{toctree}}\n:hidden:\n\n{listed}```\n"


def _table(*, lane: bool) -> str:
    rows = [
        [f"[`{code}`]({code}.md)", sentence(code.meaning), sentence(explained(code)["fault"]), "yes" if code.retried else "no"]
        for code in Code
        if code.lane is lane
    ]
    return table(["code", "meaning", "at fault", "retried"], rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "codes-contact": partial(_table, lane=False),
    "codes-lane": partial(_table, lane=True),
}
