"""The output of `crm-sync compare`: how many contacts differ, in which fields, and a few of their keys."""

import shlex
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from crm_sync.core.documents import plain_text
from crm_sync.core.drift import Drift, Example
from crm_sync.core.text import clean, printable
from crm_sync.errors import CrmSyncError
from crm_sync.reports.http_report import harmless
from crm_sync.reports.layout import name, number, prose

LONGEST_VALUE = 60  # characters shown of one value
OTHER_ACCOUNT = "https://github.com/crm-sync/crm-sync/blob/main/docs/how-to/rotate-a-key.md#a-key-of-another-account"


def on_the_way(crm: str, drift: Drift) -> str:
    at = "" if drift.last_key is None else f"; now at key {harmless(drift.last_key)}"
    return f"{crm}: in progress; {_counted(crm, drift)}{at}"


def broken_off(crm: str, drift: Drift, why: CrmSyncError | str, command: str) -> str:
    """command: the one that was typed, without --after."""
    if drift.last_key is None:
        return f"{crm}: interrupted. {clean(str(why))}"
    return (
        f"{crm}: interrupted. {clean(str(why))}\nThe counts are of the contacts up to key {harmless(drift.last_key)}: "
        f"`{command} --after {harmless(shlex.quote(drift.last_key))}` continues from there, and starts its counts again."
    )


def headline(crm: str, drift: Drift) -> str:
    return f"{crm}: {_counted(crm, drift)}."


def by_field(drift: Drift) -> Table | None:
    """The fields that differ, most contacts first."""
    if not drift.fields:
        return None
    table = Table(name("field"), number("contacts"), prose("for example, by key"))
    for field, found in sorted(drift.fields.items(), key=lambda item: (-item[1].contacts, item[0])):
        with_values = any(example.row is not None for example in found.examples)
        examples = ("\n" if with_values else ", ").join(map(_example, found.examples))
        table.add_row(printable(field, LONGEST_VALUE), f"{found.contacts:,}", examples)
    return table


def remarks(crm: str, drift: Drift, command: str, *, flips: bool) -> Iterator[str]:
    """A paragraph each. command: what was typed, without --after."""
    if drift.limited and drift.last_key is not None:
        continued = f"{command} --after {harmless(shlex.quote(drift.last_key))}"
        yield f"Stopped at the limit: there are more contacts. `{continued}` continues, and starts its counts again."
    if drift.unknown > 1 and not drift.compared:
        yield f"{crm} knows none of them. If this is not the account that they were sent to: {OTHER_ACCOUNT}"
    if drift.unknown:
        keys = ", ".join(map(harmless, drift.unknown_examples))
        yield (
            f"Unknown to {crm}, by key: {keys}{' and others' if drift.unknown > len(drift.unknown_examples) else ''}. "
            "Their records were deleted there. A flip creates them again, so --flip leaves them alone: somebody may have asked "
            "for the deletion."
        )
    if drift.ambiguous:
        yield f"Several records of {crm} have the address of an ambiguous contact: merge them there."
    yield from _left_alone(crm, drift)
    if drift.not_stored:
        counts = ", ".join(f"{printable(field, LONGEST_VALUE)} ({count:,})" for field, count in sorted(drift.not_stored.items()))
        yield f"{crm} does not keep these fields as they are sent (FIELD_NOT_SENT), which is no drift: {counts}."
    if drift.unread:
        yield f"Not compared, because {crm} does not show them with a contact: {', '.join(drift.unread)}."
    if drift.moving:
        yield f"Not compared, because {crm} changes them by itself: {', '.join(drift.moving)}."
    if left_out := ", ".join(_left_out(drift)):
        yield f"Not compared: {left_out}."
    if drift.differing and not flips:
        yield "To queue those that differ: add --flip."
    if flips:
        yield from _flipped(drift)


def _left_alone(crm: str, drift: Drift) -> Iterator[str]:
    """Those that are not queued, whatever differs."""
    if drift.opted_out:
        keys = ", ".join(map(harmless, drift.opted_out_examples))
        yield (
            f"Opted out in {crm}, by key: {keys}{' and others' if drift.opted_out > len(drift.opted_out_examples) else ''}. "
            "Their rows opt them in, and a delivery sends the whole row. So --flip leaves them alone, whatever differs: correct "
            "their rows, or flip those by key who have consented again since."
        )
    if drift.off_list:
        keys = ", ".join(map(harmless, drift.off_list_examples))
        yield (
            f"Not on a list that their rows or the settings name, by key: {keys}"
            f"{' and others' if drift.off_list > len(drift.off_list_examples) else ''}. They may have left it, and a delivery "
            "would put them on it again. So --flip leaves them alone, whatever differs: correct their rows, or flip those by key "
            "who belong there."
        )
    if drift.perhaps_opted_out:
        yield (
            f"{drift.perhaps_opted_out:,} of those that differ have a row that opts them in, and {crm} does not show here "
            "whether they have opted out, or left what they would join. So --flip leaves them alone: flip those by key who have "
            "not."
        )


def _left_out(drift: Drift) -> Iterator[str]:
    counts = {
        "in line or in flight": drift.in_line,
        "not delivered": drift.undelivered,
        "changed while they were compared": drift.changed,
        "that share a record with another row": drift.shared,
        "left as the CRM has them (ALREADY_THERE)": drift.left,
        "for which the mapping fails": drift.unreadable,
    }
    yield from (f"{count:,} {words}" for words, count in counts.items() if count)


def _flipped(drift: Drift) -> Iterator[str]:
    yield f"Queued: {drift.flipped:,} of {drift.differing:,}."
    if drift.locked:
        yield f"{drift.locked:,} stayed as they are, for another transaction has their rows locked: run this again."
    if drift.refused:
        yield f"{drift.refused:,} stayed as they are, for the table refuses the flip."


def _example(example: Example) -> str:
    key = harmless(example.key)
    return key if example.row is None else f"{key}: row {_value(example.row)}, CRM {_value(example.crm)}"


def _value(value: Any) -> str:
    text = plain_text(value)
    return f"'{printable(text, LONGEST_VALUE)}'" if text else "empty"


def _counted(crm: str, drift: Drift) -> str:
    parts = [
        f"{drift.compared:,} compared",
        f"{drift.differing:,} different",
        f"{drift.unknown:,} unknown to {crm}",
        *([f"{drift.ambiguous:,} ambiguous"] if drift.ambiguous else []),
        *([f"{drift.opted_out:,} opted out"] if drift.opted_out else []),
        *([f"{drift.off_list:,} off a list"] if drift.off_list else []),
        *([f"{drift.flipped:,} queued"] if drift.flipped else []),
    ]
    return ", ".join(parts)
