"""The output of `crm-sync retry`: the counts, and what happened to the contacts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crm_sync.core.codes import NO_CODE, Code
from crm_sync.core.text import clean
from crm_sync.reports.layout import name, number, prose, shortened
from crm_sync.table.failed_contacts import Failures
from crm_sync.table.short_flips import Flipped

MOST_CODES = 20  # of a CRM; the rest share one line
SAMPLE_CHARACTERS = 120  # on a terminal
NAMED_KEYS = 3

NUMBERS = {"contacts": "contacts", "in Error": "in_error", "waiting": "waiting", "Complete": "complete"}


def counts(by_crm: Mapping[str, Sequence[Failures]]) -> Group | None:
    """A row for each CRM and code, the most common first, and below it one of its reasons. None if there is no contact."""
    everything = [entry for failures in by_crm.values() for entry in failures]
    # Complete contacts are rarely meant.
    shown = [heading for heading in NUMBERS if heading != "Complete" or any(entry.complete for entry in everything)]
    table = Table(name("CRM"), prose("code"), *map(number, shown))
    samples = Table.grid(name(""), prose(""), padding=(0, 1))
    for crm, failures in by_crm.items():
        found = sorted((entry for entry in failures if entry.contacts), key=lambda entry: -entry.contacts)
        for entry in found[:MOST_CODES]:
            table.add_row(crm, Text(entry.code), *_numbers([entry], shown))
            samples.add_row(crm, Text(f"{entry.code}: {_sample(entry)}"))
        if rest := found[MOST_CODES:]:
            table.add_row(crm, f"{len(rest):,} more codes", *_numbers(rest, shown))
    return Group(table, Padding(samples, (0, 1), expand=False)) if table.row_count else None


def _numbers(entries: Sequence[Failures], shown: Iterable[str]) -> Iterator[str]:
    for heading in shown:
        yield f"{sum(getattr(entry, NUMBERS[heading]) for entry in entries):,}"


def _sample(entry: Failures) -> str:
    """Texts of other programs may not be masked."""
    if entry.sample is None:
        return "(no reason is given)"
    return shortened(clean(entry.sample.removeprefix(f"{entry.code}:")), SAMPLE_CHARACTERS)


def notes(by_crm: Mapping[str, Sequence[Failures]], since: str | None) -> list[str]:
    """What is uncertain about the counts. since: as typed."""
    everything = [entry for failures in by_crm.values() for entry in failures]
    uncertain, undated = (sum(entry.uncertain for entry in everything), sum(entry.undated for entry in everything))
    said = []
    if uncertain:
        said.append(
            f"{_of_them(uncertain)} may have failed earlier than {since} ago: another CRM failed later, and only the last "
            "failure of a contact is dated. They are included, because a repeat is harmless."
        )
    if undated:
        said.append(
            f"Left out: {contacts(undated)}, because it is not known when {_it(undated)} failed. Without --since "
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
            f"{code} ({known.meaning}): no contact can have it. It stops the whole CRM: contacts stay in line, and are sent by "
            f"themselves when the CRM accepts requests again. See `crm-sync status`."
        )
    if known is Code.CANNOT_DELETE:
        return f"{code}: only deleted contacts have it, which have no row to flip. See `crm-sync errors {code}`."
    return f"{code}: no contact of {crms} has it."


def beside(by_crm: Mapping[str, Sequence[Failures]]) -> list[str]:
    """Complete contacts with a code that was not asked for."""
    words: dict[str, str] = {Code.FIELD_NOT_SENT: "delivered without a field", Code.ALREADY_THERE: "that the CRM had already"}
    return [
        f"Not included: {contacts(entry.complete)} of {crm} {words[entry.code]}; --code {entry.code} sends "
        f"{'it' if entry.complete == 1 else 'them'} again."
        for crm, failures in by_crm.items()
        for entry in failures
        if entry.complete
    ]


def closing(crm: str, counted: int, done: Flipped) -> list[str]:
    """What happened to the contacts of one CRM."""
    said = [f"{crm}: flipped {contacts(done.flipped)}."]
    changed = counted - done.flipped - len(done.locked) - len(done.refused)
    if changed > 0:
        said.append(
            f"  {changed:,} changed since the count (flipped, claimed or withdrawn): left as {_it(changed)} {_is(changed)}."
        )
    if done.locked:
        said.append(
            f"  {len(done.locked):,} locked by another transaction throughout: run the same command again to flip "
            f"{_them(done.locked)}."
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
