"""Why a contact is, or is not, in a CRM: one sentence, made from the facts of `crm_sync.why`. It is made only here.

Only the facts are read: programs can make other sentences from their JSON. Only what the database cannot know comes from the
configuration: whether there are credentials here, and the page of a record in the CRM.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from crm_sync.core.codes import Code
from crm_sync.core.durations import clock, span
from crm_sync.core.text import clean
from crm_sync.reports.lane_state import LaneState
from crm_sync.reports.waiting import FULL_LOOK, held_by, reason_to_wait, when

_REQUEST = re.compile(r"\brequest ([\w.:/+=-]*[\w/+=-])")
_NOT_ASKED = {
    "New": "Nobody has asked for it here: its status is New",
    "Selected": "It was marked (Selected), but not asked for: only Queued sends it",
    "Skipped": "It is not wanted here: its status is Skipped",
}
# It was crm-sync that refused the contact. What INVALID_EMAIL means, its reason says better.
_UNSENT = (Code.INVALID_EMAIL, Code.NOT_THERE, Code.MAPPING_FAILED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """verdict: the word of `crm_sync.why`. because: what a contact in line is waiting for, or the code of a refusal. advice: what
    a person can do, or None. link: the record's page in the CRM. facts: as read.
    """

    crm: str
    verdict: str
    because: str | None
    sentence: str
    advice: str | None
    link: str | None
    facts: Mapping[str, Any]

    def as_object(self) -> dict[str, Any]:
        """For scripts, the API and the console."""
        return {
            "crm": self.crm,
            "verdict": self.verdict,
            "because": self.because,
            "sentence": self.sentence,
            "advice": self.advice,
            "link": self.link,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, slots=True)
class Known:
    """What the configuration knows about a CRM. fault: what is wrong with its columns or triggers.
    record_url: with {id} in it.
    """

    fault: str | None = None
    record_url: str | None = None


def judge(crm: str, verdict: str, facts: Mapping[str, Any], known: Known) -> Verdict:
    """The sentence and everything that belongs to it."""
    sentence, because, advice = _Telling(crm, facts, known).tell(verdict)
    row = facts.get("row") or {}
    has_record = verdict in ("delivered", "overtaken") and row.get("remote_id")
    link = known.record_url.format(id=quote(row["remote_id"], safe="")) if has_record and known.record_url else None
    return Verdict(crm, verdict, because, sentence, advice, link, facts)


def moment(text: str | None) -> datetime | None:
    """From its JSON form."""
    return None if text is None else datetime.fromisoformat(text)


Told = tuple[str, str | None, str | None]  # sentence, because, advice


class _Telling:
    def __init__(self, crm: str, facts: Mapping[str, Any], known: Known) -> None:
        self._crm = crm
        self._facts = facts
        self._known = known
        self._row: Mapping[str, Any] = facts.get("row") or {}
        self._now = datetime.fromisoformat(facts["now"])

    def tell(self, verdict: str) -> Told:
        tell = {
            "not found": self._not_found,
            "deleted": self._deleted,
            "misconfigured": self._unreadable,
            "never asked for": self._never_asked_for,
            "withdrawn": self._withdrawn,
            "unseen": self._unseen,
            "waiting": self._in_line,
            "in line": self._in_line,
            "in flight": self._in_flight,
            "refused": self._refused,
            "delivered": self._delivered,
            "overtaken": self._overtaken,
        }.get(verdict, self._of_its_own)
        return tell()

    # No row.

    def _not_found(self) -> Told:
        return f"No contact has the key {self._facts['key']}.", None, None

    def _deleted(self) -> Told:
        tombstone = self._facts["tombstone"]
        what = "erased" if tombstone["policy"] == "erase" else "deleted"
        gone = f"Its row was deleted {self._at(tombstone['deleted_at'])}, and its record in {self._crm} is to be {what}"
        if tombstone["claimed_by"] is not None:
            return f"{gone}: that is in progress.", None, None
        if tombstone["due_at"] is None:
            code, remedy = _remedy(tombstone["error"])
            return f"{gone}, but that was given up: {clean(tombstone['error'] or 'no reason given')}.", code, remedy
        after = f", after {clean(tombstone['error'])}" if tombstone["error"] else ""
        due = moment(tombstone["due_at"])
        wait = f" {self._in(due)}" if due is not None and due > self._now else " next"
        return f"{gone}: a worker does so{wait}{after}.", None, self._run()

    def _unreadable(self) -> Told:
        column = self._facts["unreadable"]["column"]
        if self._facts["unreadable"]["is_there"]:
            return f"This cannot be said: this role may not read the column {column}.", "rights", "crm-sync grants"
        return (
            f"It is not delivered, nor is any contact, because the contacts table has no column {column}.",
            "misconfigured",
            "crm-sync migrate",
        )

    # Not wanted.

    def _never_asked_for(self) -> Told:
        return self._with_lock(_NOT_ASKED[self._row["sync_status"]]), None, self._send()

    def _of_its_own(self) -> Told:
        status = self._row["sync_status"]
        has = "has no status here" if status is None else f"has the status {status}, which crm-sync does not act on"
        return self._with_lock(f"It {has}: nobody has asked for it"), None, self._send()

    def _withdrawn(self) -> Told:
        said = f"It was flipped {self._at(self._row['flipped_at'])}, and withdrawn ({self._row['sync_status']})"
        said += " before it was delivered"
        if self._row["synced_at"]:
            said += f"; it was delivered before that, {self._at(self._row['synced_at'])}"
        return self._with_lock(said), None, self._send()

    def _unseen(self) -> Told:
        if self._facts["lane"]["trigger_is_on"] is False:
            return (
                "It is Queued, but not in line, because the triggers on the contacts table are off or missing: no flip is seen.",
                "trigger",
                "crm-sync check",
            )
        return (
            f"It is Queued, but not in line, because no trigger saw the flip: a worker puts it there {FULL_LOOK}.",
            "full look",
            None if self._facts["lane"]["workers"] else "crm-sync run",
        )

    # In line, in flight.

    def _in_line(self) -> Told:
        because = reason_to_wait(self._crm, self._facts, lane_state(self._crm, self._facts, self._known.fault))
        row = self._row
        if self._is_sent_again():
            waits = (
                f"It was delivered {self._at(row['synced_at'])}, and has waited {self._since(row['due_at'])} to be sent once more"
            )
        else:
            waits = f"It has waited since its flip {self._at(row['flipped_at'] or row['due_at'])}"
        return f"{waits}: {because.words}.", because.word, because.advice

    def _is_sent_again(self) -> bool:
        """An older state may have arrived after it: see `crm_sync.table.sending_again`."""
        flipped, synced, due = (moment(self._row[name]) for name in ("flipped_at", "synced_at", "due_at"))
        return flipped is not None and synced is not None and due is not None and flipped <= synced < due

    def _in_flight(self) -> Told:
        worker = self._facts["worker"]
        meanwhile = {
            "Processing": "",
            "Queued": " It was flipped again meanwhile, and goes out once more after it.",
        }.get(self._row["sync_status"], f" It was withdrawn meanwhile ({self._row['sync_status']}).")
        name = f"worker {worker['id']}"
        if not worker["is_known"]:
            after = "a worker that runs puts it back in line"
            return f"It is in flight with {name}, which is no longer known: {after}.{meanwhile}", "lost", self._run()
        name = f"{name} (process {worker['pid']} on {worker['host']})"
        if not worker["lives"]:
            after = "another one puts it back in line within seconds" if self._facts["lane"]["workers"] else "no other one runs"
            return f"It is in flight with {name}, which has died: {after}.{meanwhile}", "dead worker", self._run()
        since = self._since(worker["since"]) if worker["since"] else f"at the earliest {self._since(worker['not_before'])}"
        said = f"It is in flight with {name}, {since}, in attempt {self._row['attempts']}"
        if refused := self._facts["refused"]:
            said += f", and the contacts table refuses to have its row written: {clean(refused)}"
            return f"{said}.{meanwhile}", "row refused", "crm-sync check"
        return f"{said}.{meanwhile}", None, None

    # Done.

    def _refused(self) -> Told:
        error = self._row["error"]
        if not error:
            return "It is in Error, and no reason was given.", None, self._send()
        code, separator, reason = error.partition(":")
        failed_at = f" {self._at(self._row['failed_at'])}" if self._row["failed_at"] else ""
        tries = f", in attempt {self._row['attempts']}" if self._row["attempts"] > 1 else ""
        if not separator or code not in Code.__members__:
            return f"It is in Error{failed_at}{tries}: {clean(error)}.", None, self._send()
        known, words = Code[code], clean(reason).rstrip(".")
        request = _REQUEST.search(words)
        request_id = request[1] if request else self._last_request_id(code)
        asked = f" Its id for the CRM's support: {request_id}." if request_id else ""
        refused = f"It was not sent: crm-sync refused it{failed_at}" if known in _UNSENT else f"It was refused{failed_at}"
        meaning = "" if known is Code.INVALID_EMAIL else f", {known.meaning.removesuffix('; nothing was sent')}"
        return f"{refused}{tries} with {code}{meaning}: {words}.{asked}", code, known.remedy

    def _delivered(self) -> Told:
        return self._with_record("")

    def _overtaken(self) -> Told:
        other = next(one for one in self._facts["others"] if _is_later(one, self._row))
        later = f"which was flipped later, {self._at(other['flipped_at'])}"
        return self._with_record(f"; the record has the values of row {other['key']}, {later}")

    def _with_record(self, rest: str) -> Told:
        row = self._row
        said = f"It was delivered {self._at(row['synced_at'])}"
        said += f", as record {row['remote_id']}" if row["remote_id"] else ""
        advice = None
        if row["error"]:
            said += f", but incomplete: {clean(row['error'])}"
            advice = _remedy(row["error"])[1]
        said += rest
        if row["sync_status"] != "Complete":
            said += f"; by now its status is {row['sync_status']}"
        return self._with_lock(said), None, advice

    def _last_request_id(self, code: str) -> str | None:
        """From history, if the reason itself does not contain one."""
        attempts = self._facts.get("attempts") or [{}]
        return clean(attempts[0]["request_id"]) if attempts[0].get("code") == code and attempts[0].get("request_id") else None

    # Words.

    def _with_lock(self, said: str) -> str:
        """For a row that is not in line: what a transaction is about to write is not visible yet."""
        if lock := self._facts.get("lock"):
            who = held_by(lock, self._now)
            return f"{said}; {who} has written to its row or locked it, and what it writes is not seen before it commits."
        return f"{said}."

    def _send(self) -> str:
        return f"crm-sync sync --key {shlex.quote(self._row['key'])} --crm {self._crm}"

    def _run(self) -> str | None:
        return None if self._facts["lane"]["workers"] else "crm-sync run"

    def _at(self, text: str) -> str:
        at = datetime.fromisoformat(text)
        return f"{when(at, self._now)} ({span((self._now - at).total_seconds())} ago)"

    def _since(self, text: str) -> str:
        at = datetime.fromisoformat(text)
        return f"since {clock(at, self._now)} ({span((self._now - at).total_seconds())})"

    def _in(self, at: datetime) -> str:
        return f"{when(at, self._now)} (in {span((at - self._now).total_seconds())})"


def lane_state(crm: str, facts: Mapping[str, Any], fault: str | None) -> LaneState:
    """The lane in the facts. fault: another one, of the columns or triggers."""
    lane = facts["lane"]
    since = moment(lane["breaker_since"])
    now = datetime.fromisoformat(facts["now"])
    return LaneState(
        crm,
        lane["breaker"],
        since or now,
        lane["breaker_reason"],
        moment(lane["next_probe_at"]),
        lane["openings"],
        moment(lane["held_since"]),
        lane["held_reason"],
        now,
        lane["fault"] or fault,
        moment(lane["fault_since"]),
    )


def _remedy(error: str | None) -> tuple[str | None, str | None]:
    """(code, what to do)."""
    code = (error or "").partition(":")[0]
    return (code, Code[code].remedy) if code in Code.__members__ else (None, None)


def _is_later(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """As in `crm_sync.why`."""
    flipped, synced = moment(other["flipped_at"]), moment(other["synced_at"])
    return flipped is not None and synced is not None and flipped > datetime.fromisoformat(row["flipped_at"])
