"""The promises, checked against what the applications committed, the table, and what the CRMs received and hold.

I1  every contact whose last flip was committed is Complete, and its record is as new as that flip, or newer
I2  nothing is in flight, or in line, once all is well
I3  no CRM has an address twice
I4  the application's columns are unchanged, and so are the statuses it wrote, except for the worker's answers to Queued
I5  what was withdrawn or deleted is not sent after that commit. The promise is that it is not claimed after it: a contact that
    was claimed before may be in a request, or wait for its turn, and the worker does not look at the row again. So: every
    request begins under a claim. A claim ends with its finish, or with its takeover when its worker is dead or has lost its
    session; a worker that comes back starts no request for contacts taken from it. After a delete, no finish ends the claim;
    the worker is done with it within IN_HAND_S
I6  a contact in Error has a reason, and here the contact itself is at fault: it has no valid address
I7  no personal data and no key is in a log or in an error column
I8  a contact is not sent more often than it was flipped (also by a worker that resends what a late request may have
    overwritten), plus once for each send that failed, and for each claim that was sent and did not end with a delivery: its
    worker died, or the answer got lost. Counted for each contact and CRM, that is what `(crashes + unknown answers) x batch`
    bounds. If a delivery is a lookup and a write, a late write cannot be distinguished from one of the next claim: there,
    claims that were not sent count too
I9  history has one line for each claim that was sent, matching what the table saw, and no others. A claim whose row was deleted
    is recorded as lost, if its worker stayed alive
I10 a field without a value in the row is in no record, even if it was there before: the last name of a record is that of the
    version in its first name

A crash of the server undoes the claims of its last moments, because the worker does not wait for the disk. The claims of those
sends are unknown: sends without a claim are accepted for CRASH_S after a crash, and counted.
"""

import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.sandbox import credentials
from crm_sync.sandbox.process import CRMS
from tests.chaos.audit import Claim, Claims, End, Flips, Line, Lines
from tests.chaos.crms import Send
from tests.chaos.ledger import COLUMNS, MARK, NAME, REMOTE_ID, Contact, last_name

TOLD_S = 5.0  # longest time between the end of a claim and its line, if that is written separately
IN_HAND_S = 60.0  # longest time that a claim of a deleted row waits for its turn, with the slowest CRM here
LATE_S = 2.0  # a request may wait in a socket while its sender dies and its claim is taken over
CRASH_S = 15.0
EARLY_S = 1.0  # the server's last moments, whose claims are lost with it

LOOKS_FIRST = ("brevo", "mautic")
KEYS = (credentials.HUBSPOT_TOKEN, credentials.BREVO_KEY, credentials.MAUTIC_PASSWORD)


@dataclass(frozen=True, slots=True)
class Violation:
    """at: seconds since 1970, if it has a time."""

    promise: str
    text: str
    contact: int | None = None
    crm: str | None = None
    at: float | None = None


@dataclass
class Evidence:
    """rows: by id, as in the table at the end. lines: of history, by CRM and contact.

    records: (address, first name) by CRM. last_names: by CRM and address. crashes: of the server.

    worker_flips: how often workers flipped a contact. lag_s: longest delay in recording sends, which makes them look late.
    """

    contacts: Mapping[uuid.UUID, Contact]
    rows: Mapping[uuid.UUID, Mapping[str, Any]]
    sends: Sequence[Send]
    claims: Claims
    records: Mapping[str, Sequence[tuple[str, str]]]
    crashes: Sequence[float] = ()
    lag_s: float = 0.0
    worker_flips: Flips = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)
    last_names: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


@dataclass
class Sums:
    """Over all CRMs. let_pass: sends without a claim because of a crash of the server."""

    flips: int = 0
    sends: int = 0
    allowed: int = 0
    let_pass: int = 0
    repeats: Counter[str] = field(default_factory=Counter)


def violations(evidence: Evidence, sums: Sums | None = None) -> list[Violation]:
    found = [*_of_rows(evidence), *_of_records(evidence), *_of_sends(evidence, sums or Sums()), *_of_history(evidence)]
    return sorted(found, key=lambda one: (one.promise, one.contact or 0))


# Rows and records: I1, I2, I3, I4, I6.


def _of_rows(evidence: Evidence) -> Iterator[Violation]:
    for contact in evidence.contacts.values():
        row = evidence.rows.get(contact.id)
        if row is None or contact.deleted:
            if (row is None) != contact.deleted:
                yield Violation("I4", "is gone" if row is None else "was deleted and is there", contact.number)
            continue
        for column in COLUMNS:
            if row[column] != contact.columns.get(column):
                yield Violation("I4", f"{column} is {row[column]!r}, not {contact.columns.get(column)!r}", contact.number)
        for crm in CRMS:
            yield from _of_row(contact, row, crm)
    for unknown in evidence.rows.keys() - evidence.contacts.keys():
        yield Violation("I4", f"row {unknown} was inserted by nobody")


def _of_row(contact: Contact, row: Mapping[str, Any], crm: str) -> Iterator[Violation]:
    sync, processing, error = (row[f"{crm}_{column}"] for column in ("sync_status", "processing_status", "processing_error"))
    if row[f"{crm}_claimed_by"] is not None or row[f"{crm}_due_at"] is not None or processing in ("Queued", "Processing"):
        yield Violation("I2", f"is not settled: {sync}, {processing}, claimed by {row[f'{crm}_claimed_by']}", contact.number, crm)
    word = contact.words[crm]
    if word != "Queued":
        if sync != word:
            yield Violation("I4", f"the application's word is {word}, and it is {sync}", contact.number, crm)
        return
    if sync == "Error":
        code = (error or "").partition(":")[0]
        if not error:
            yield Violation("I6", "is Error without a reason", contact.number, crm)
        elif contact.deliverable_to(crm) or code != Code.INVALID_EMAIL:
            yield Violation("I1", f"was flipped and is Error, {error}", contact.number, crm)
    elif sync != "Complete" or processing != "Complete":
        yield Violation("I1", f"was flipped and is {sync}, {processing}", contact.number, crm)
    elif not contact.deliverable_to(crm):
        yield Violation("I1", "has no valid address and is Complete", contact.number, crm)
    # Brevo answers an update without the id, and the lookup of it may fail. For n8n, a success that cannot be read is a run.
    elif not row[REMOTE_ID[crm]] and crm not in ("brevo", "n8n"):
        yield Violation("I1", "is Complete without an id", contact.number, crm)


def _of_records(evidence: Evidence) -> Iterator[Violation]:
    sharing: dict[str, list[Contact]] = defaultdict(list)
    for contact in evidence.contacts.values():
        sharing[contact.address].append(contact)
    for crm, records in evidence.records.items():
        held: dict[str, str] = {}
        last_names = {fold(address): last for address, last in evidence.last_names.get(crm, {}).items()}
        for email, first_name in records:
            address = fold(email)
            if not address:
                continue  # of contacts without one, of which n8n keeps no other key
            if address in held:
                numbers = [contact.number for contact in sharing[address]]
                yield Violation(
                    "I3", f"two records have one address: {held[address]} and {first_name}", min(numbers, default=None), crm
                )
            held[address] = first_name
        for contact in evidence.contacts.values():
            if not contact.deleted and contact.deliverable and contact.words[crm] == "Queued":
                yield from _of_record(contact, held.get(contact.address), sharing[contact.address], crm)
                yield from _of_last_name(contact, held.get(contact.address), last_names, crm)


def _of_record(contact: Contact, first_name: str | None, sharing: Sequence[Contact], crm: str) -> Iterator[Violation]:
    """If several rows have one address, the record has the version of one of them; for one that was withdrawn or deleted, any
    version.
    """
    found = NAME.fullmatch(first_name or "")
    there = None if found is None else (int(found[1]), int(found[2]))
    fits = any(
        there is not None
        and there[0] == one.number
        and (one.deleted or one.words[crm] != "Queued" or one.flipped[crm] <= there[1])
        and there[1] <= one.version
        for one in sharing
    )
    if not fits:
        wanted = f"version {contact.flipped[crm]} or newer of {contact.version}"
        yield Violation("I1", f"its record is {first_name}, not {wanted}", contact.number, crm)


def _of_last_name(contact: Contact, first_name: str | None, there: Mapping[str, str | None], crm: str) -> Iterator[Violation]:
    """If several rows have one address, each empties only the fields that it wrote itself."""
    found = NAME.fullmatch(first_name or "")
    if found is None or contact.shares or contact.address not in there:
        return
    if there[contact.address] != last_name(int(found[2])):
        yield Violation("I10", f"{first_name} has the last name {there[contact.address]}", contact.number, crm)


# Sends and claims: I5, I8.


def _of_sends(evidence: Evidence, sums: Sums) -> Iterator[Violation]:
    contacts = {contact.number: contact for contact in evidence.contacts.values()}
    sends: dict[tuple[str, int], list[Send]] = defaultdict(list)
    for send in evidence.sends:
        sends[send.crm, send.number].append(send)
    sums.flips += sum(sum(contact.flips.values()) for contact in contacts.values())
    sums.sends += len(evidence.sends)
    for (crm, number), those in sends.items():
        contact = contacts.get(number)
        if contact is None:
            yield Violation("I5", "was sent, and nobody ever committed it", number, crm, those[0].at)
            continue
        yield from _of_contact(contact, crm, those, evidence, sums)


def _of_contact(contact: Contact, crm: str, sends: Sequence[Send], evidence: Evidence, sums: Sums) -> Iterator[Violation]:
    claims = evidence.claims.get((crm, contact.id), [])
    under: set[int] = set()
    let_pass = stray = 0
    for send in sends:
        after_a_crash = _after_a_crash(send.at, evidence.crashes)
        # A claim undone by a crash must not be mistaken for the previous one.
        place = _claim_of(send, claims, 0.0 if after_a_crash else LATE_S + evidence.lag_s)
        if place is not None:
            under.add(place)
        elif after_a_crash:
            let_pass += 1
        else:
            stray += 1
            yield Violation("I5", f"version {send.version} was sent {_without(send, claims)}", contact.number, crm, send.at)
    places = range(len(claims)) if crm in LOOKS_FIRST else under
    undelivered = sum(claims[place].end is not End.DELIVERED for place in places)
    repeats = undelivered + sum(send.failed for send in sends) + let_pass + stray
    flips = contact.flips[crm] + evidence.worker_flips.get((crm, contact.id), 0)
    allowed = flips + repeats
    sums.allowed += repeats
    sums.let_pass += let_pass
    sums.repeats[crm] += max(0, len(sends) - contact.flips[crm])
    if len(sends) > allowed:
        text = f"was sent {len(sends)} times for {flips} flips, and {repeats} repeats are accounted for"
        yield Violation("I8", text, contact.number, crm, sends[-1].at)


def _claim_of(send: Send, claims: Sequence[Claim], late_s: float) -> int | None:
    """The index of the claim under which this send was made: the last one that had begun, if it had not ended."""
    place = bisect_right(claims, send.at, key=lambda claim: claim.began) - 1
    if place < 0:
        return None
    claim = claims[place]
    allowed_s = IN_HAND_S if claim.end is End.DELETED else late_s
    return place if claim.ended is None or send.at <= claim.ended + allowed_s else None


def _without(send: Send, claims: Sequence[Claim]) -> str:
    before = [claim for claim in claims if claim.began <= send.at]
    if not before or before[-1].ended is None:
        return "without a claim"
    return f"{send.at - before[-1].ended:.1f} s after its last claim had ended ({before[-1].end.name.lower()})"


def _after_a_crash(at: float, crashes: Iterable[float]) -> bool:
    return any(crash - EARLY_S <= at <= crash + CRASH_S for crash in crashes)


# History: I9.


def _of_history(evidence: Evidence) -> Iterator[Violation]:
    numbers = {contact.id: contact.number for contact in evidence.contacts.values()}
    sent: dict[tuple[str, uuid.UUID], set[int]] = defaultdict(set)
    ids = {number: contact for contact, number in numbers.items()}
    for send in evidence.sends:
        contact = ids.get(send.number)
        if contact is not None and not _after_a_crash(send.at, evidence.crashes):
            place = _claim_of(send, evidence.claims.get((send.crm, contact), []), LATE_S + evidence.lag_s)
            sent[send.crm, contact].update([] if place is None else [place])
    last_claims: dict[int, float] = {}
    for claims in evidence.claims.values():
        for claim in claims:
            last_claims[claim.worker] = max(claim.began, last_claims.get(claim.worker, 0.0))
    for key in evidence.claims.keys() | evidence.lines.keys():
        crm, contact = key
        claims, lines = evidence.claims.get(key, []), evidence.lines.get(key, [])
        for at, text in _told(claims, lines, sent[key], last_claims, evidence.crashes):
            yield Violation("I9", text, numbers.get(contact), crm, at)


def _told(
    claims: Sequence[Claim],
    lines: Sequence[Line],
    sent: Iterable[int],
    last_claims: Mapping[int, float],
    crashes: Sequence[float],
) -> Iterator[tuple[float, str]]:
    """What is wrong with the lines of one contact: when, and what."""
    ended = {place: claim for place, claim in enumerate(claims) if claim.end in (End.DELIVERED, End.UNDELIVERED)}
    lost = [line for line in lines if line.outcome == "lost"]
    for line in lines:
        if line.outcome == "lost":
            had_it = any(claim.worker == line.worker and claim.began <= line.at for claim in claims)
            if not had_it and not _after_a_crash(line.at, crashes):  # a claim undone by a crash was sent anyway
                yield line.at, "is lost in history, and its worker never had it"
            continue
        end = End.DELIVERED if line.outcome == "delivered" else End.UNDELIVERED
        of_worker = [place for place, claim in ended.items() if (claim.worker, claim.end) == (line.worker, end)]
        fits = [place for place in of_worker if _apart(claims[place], line) <= TOLD_S]
        if fits:
            del ended[min(fits, key=lambda place: _apart(claims[place], line))]
        else:
            yield line.at, f"is {line.outcome} in history, and no claim ended so"
    for place in sent:
        claim = claims[place]
        if place in ended:
            yield claim.began, "was sent, and its claim's end is not in history"
        end_s = claim.ended or claim.began
        lived_on = last_claims[claim.worker] > end_s + IN_HAND_S
        # The worker commits asynchronously, so a crash may undo its last lines.
        undone = any(end_s <= crash <= end_s + IN_HAND_S for crash in crashes)
        if claim.end is End.DELETED and lived_on and not undone and claim.worker not in [line.worker for line in lost]:
            yield claim.began, "was sent and deleted in flight, and history does not tell of it"


def _apart(claim: Claim, line: Line) -> float:
    """Seconds between the end of a claim and a line."""
    return abs((claim.ended or claim.began) - line.at)


# Texts: I7.


def leaks(where: str, lines: Iterable[str]) -> Iterator[Violation]:
    for number, line in enumerate(lines, 1):
        lowered = line.lower()
        if MARK in lowered or any(key in line for key in KEYS):
            yield Violation("I7", f"{where}, line {number}: {line.strip()[:300]}")
