"""What `crm-sync retry` says: the counts, and what became of the contacts."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from crm_sync.core.choice import NO_CODE
from crm_sync.core.codes import Code
from crm_sync.core.text import clean
from crm_sync.table.failed_contacts import Failures, Flipped

MOST_CODES = 20  # of a CRM; the rest is one line
SAMPLE_LINES = 2
NAMED_KEYS = 3

HEADINGS = ("CRM", "code", "contacts", "in Error", "waiting", "Complete")


def counts(by_crm: Mapping[str, Sequence[Failures]]) -> list[str]:
    """A line for each CRM and code, the commonest first, and below it a reason. Nothing where there is no contact."""
    # Who is Complete is rarely meant.
    shown = len(HEADINGS) - (not any(entry.complete for failures in by_crm.values() for entry in failures))
    rows: list[tuple[Sequence[str], str | None]] = [(HEADINGS, None)]
    for crm, failures in by_crm.items():
        found = sorted((entry for entry in failures if entry.contacts), key=lambda entry: -entry.contacts)
        rows += [(_cells(crm, entry.code, [entry]), _sample(entry)) for entry in found[:MOST_CODES]]
        if rest := found[MOST_CODES:]:
            rows.append((_cells(crm, f"{len(rest):,} more codes", rest), None))
    if len(rows) == 1:
        return []
    widths = [max(len(cells[column]) for cells, _ in rows) for column in range(shown)]
    lines = []
    for cells, sample in rows:
        names = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[2:shown], widths[2:], strict=True)]
        lines.append("  ".join([*names, *numbers]))
        if sample is not None:
            lines += _indented(sample, widths[0] + 2)
    return lines


def _cells(crm: str, name: str, entries: Iterable[Failures]) -> list[str]:
    numbers = [(entry.contacts, entry.in_error, entry.waiting, entry.complete) for entry in entries]
    return [crm, name, *(f"{sum(column):,}" for column in zip(*numbers, strict=True))]


def _sample(entry: Failures) -> str:
    """Of another program's texts nobody knows whether they are masked."""
    if entry.sample is None:
        return "(no reason is given)"
    return clean(entry.sample.removeprefix(f"{entry.code}:"))


def _indented(text: str, indent: int) -> list[str]:
    blanks = " " * (indent + 2)
    return textwrap.wrap(
        text, _width(), initial_indent=blanks, subsequent_indent=blanks, max_lines=SAMPLE_LINES, placeholder=" …"
    )


def wrapped(sentence: str) -> str:
    """For the terminal; what follows its first line stands below the words of that."""
    indent = " " * (len(sentence) - len(sentence.lstrip()))
    return textwrap.fill(sentence, _width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns)


def notes(by_crm: Mapping[str, Sequence[Failures]], since: str | None) -> list[str]:
    """What is uncertain of the counts. since: as it was written."""
    everything = [entry for failures in by_crm.values() for entry in failures]
    uncertain, undated = (sum(entry.uncertain for entry in everything), sum(entry.undated for entry in everything))
    said = []
    if uncertain:
        said.append(
            f"{_of_them(uncertain)} may have failed earlier than {since} ago: another CRM failed after, and only the last "
            "failure of a contact is dated. They are included, for a repeat is harmless."
        )
    if undated:
        said.append(
            f"Left out: {contacts(undated)} of which nobody knows when {_it(undated)} failed. Without --since "
            f"{_it(undated)} {'is' if undated == 1 else 'are'} included."
        )
    return said


def lacking(by_crm: Mapping[str, Sequence[Failures]], code: str, *, in_rows: bool, since: str | None) -> str:
    """Why there is nothing to flip with a code that was named. in_rows: some row has it."""
    crms = ", ".join(by_crm)
    if in_rows:
        earlier = f" did not fail within {since}," if since else ""
        return f"{code}: no contact of {crms} to flip. Those that have it{earlier} are withdrawn, Complete or in flight."
    if code == NO_CODE:
        return f"{code}: every failed contact of {crms} has a reason with a code."
    known = Code[code]
    if known.lane:
        return (
            f"{code} ({known.meaning}): no contact has it, nor can have it. It holds up the whole CRM, and what was to be sent "
            "stays in line and goes out by itself when the CRM takes it again. See `crm-sync status`."
        )
    if known is Code.CANNOT_DELETE:
        return f"{code}: only deleted contacts have it, which have no row to flip. See `crm-sync errors {code}`."
    return f"{code}: no contact of {crms} has it."


def beside(by_crm: Mapping[str, Sequence[Failures]]) -> list[str]:
    """What was delivered and lacks a field, where nobody asked for it."""
    complete = {crm: sum(entry.complete for entry in failures) for crm, failures in by_crm.items()}
    return [
        f"Not meant: {contacts(count)} of {crm} delivered without a field; --code {Code.FIELD_NOT_SENT} sends "
        f"{'it' if count == 1 else 'them'} again."
        for crm, count in complete.items()
        if count
    ]


def closing(crm: str, counted: int, done: Flipped) -> list[str]:
    """What became of the contacts of one CRM."""
    said = [f"{crm}: flipped {contacts(done.flipped)}."]
    changed = counted - done.flipped - len(done.locked) - len(done.refused)
    if changed > 0:
        said.append(
            f"  {changed:,} changed since the count (flipped, claimed or withdrawn): left as {_it(changed)} {_is(changed)}."
        )
    if done.locked:
        said.append(
            f"  {len(done.locked):,} locked by another transaction all the time: run the same again to flip {_them(done.locked)}."
        )
    if done.refused:
        named = ", ".join(str(key) for key in done.refused[:NAMED_KEYS])
        more = ", ..." if len(done.refused) > NAMED_KEYS else ""
        said.append(f"  {len(done.refused):,} refused by the contacts table itself, key {named}{more}: {done.refusal}")
    return said


def contacts(count: int) -> str:
    return f"{count:,} contact" if count == 1 else f"{count:,} contacts"


def _of_them(count: int) -> str:
    return f"{count:,} of them"


def _it(count: int) -> str:
    return "it" if count == 1 else "they"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _them(keys: Sequence[object]) -> str:
    return "it" if len(keys) == 1 else "them"
