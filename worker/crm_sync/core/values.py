"""What a value of a row becomes on its way to a CRM: a kind, read without loss, and a form that the CRM takes.

    the row          numeric 1.50, timestamptz, int[], jsonb, ...
    as it is read    by SQL that no setting of the database changes: `crm_sync.table.kinds`
    as a kind        exact and finite, or that contact's MAPPING_FAILED: the readers here and in `numbers`
    as a form        what this CRM takes for that kind: `Forms`, one table for each CRM in `crm_sync.crm.values`

Nothing is done per value for kinds that are sent as they are read: `writer` gives None for them.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, NamedTuple

from crm_sync.core.documents import Number, document, single
from crm_sync.core.numbers import digits, exact, exact_whole, finite, real
from crm_sync.errors import UnsendableError

Form = Callable[[Any], Any]

_NO_DATE = "infinite dates, and those before the year 1 or after 9999, are not accepted by any CRM"
_NO_INTERVAL = "an infinite interval is not accepted by any CRM"


class Kind(Enum):
    """What a type of Postgres is to a CRM."""

    TEXT = auto()
    BOOLEAN = auto()
    SMALL = auto()  # a whole number that is exact everywhere
    BIG = auto()  # a whole number of 64 bits
    NUMERIC = auto()  # read as its text
    REAL = auto()  # of 32 bits, which Postgres's drivers widen: 4.7 comes as 4.699999809265137
    DOUBLE = auto()
    DATE = auto()
    MOMENT = auto()
    LOCAL_MOMENT = auto()  # without a time zone
    JSON = auto()
    INTERVAL = auto()  # as Postgres writes it, but for those without end
    OTHER = auto()  # as Postgres writes it


class Shape(NamedTuple):
    """A kind, or a list of it. packed: the list is read as a JSON text."""

    kind: Kind
    is_list: bool = False
    packed: bool = False


class Member(NamedTuple):
    """A name in the mapping that is not a field of the CRM's contact. form: makes what is sent of a value as any JSON client
    gets it. opt_outs: keeps only what opts out; None for a name that is not consent. Both raise UnsendableError.

    needs: what the CRM's key needs for it, for people to read; empty where any key will do.
    """

    form: Form
    opt_outs: Form | None = None
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Forms:
    """How one CRM takes each kind, after its reader. None: as it is read.

    listed: makes the form of a list of its elements' forms, which are neither None nor blank; an element can be such a list.
    members: the names that are not fields.
    takes_local_moments: else they are refused, because there is no telling which moment is meant. longest: characters of one
    value, at most; what is longer is not sent. Of n8n and others that name no limit our own, for what is in flight is in memory.
    """

    text: Form | None = None
    boolean: Form | None = None
    small: Form | None = None
    big: Form | None = None
    numeric: Form | None = None
    real: Form | None = None
    date: Form | None = None
    moment: Form | None = None
    local_moment: Form | None = None
    document: Form | None = None
    listed: Form | None = None
    takes_local_moments: bool = True
    longest: int = 1_000_000
    members: Mapping[str, Member] = field(default_factory=dict)
    _spelled: Mapping[str, str] = field(init=False, repr=False, compare=False)  # looked up for each field of each contact

    def __post_init__(self) -> None:
        object.__setattr__(self, "_spelled", {known.lower(): known for known in self.members})

    def member(self, name: str) -> str | None:
        """The CRM's spelling of such a name; None for a field."""
        return self._spelled.get(name.lower())


# Dates and times, as SQL has made texts of them.

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?([+-]\d\d:\d\d(?::\d\d)?)?")


def date(text: str) -> str:
    """YYYY-MM-DD."""
    if _DATE.fullmatch(text) is None:
        raise UnsendableError(_NO_DATE)
    return text


def moment(text: str) -> str:
    """ISO 8601 in UTC, with milliseconds and Z. text: in UTC, unless it says another offset."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UnsendableError(_NO_DATE)
    if match[3] in (None, "+00:00"):
        return f"{match[1]}.{_milliseconds(match)}Z"
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        raise UnsendableError(_NO_DATE) from None


def local_moment(text: str) -> str:
    """ISO 8601 with milliseconds and no zone."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UnsendableError(_NO_DATE)
    return f"{match[1]}.{_milliseconds(match)}"


def _milliseconds(match: re.Match[str]) -> str:
    return (match[2] or "")[:3].ljust(3, "0")


def interval(text: str) -> str:
    """As Postgres writes it."""
    if text.lstrip("-").lower() == "infinity":
        raise UnsendableError(_NO_INTERVAL)
    return text


# What becomes of what.


def writer(shape: Shape, forms: Forms) -> Form | None:
    """What makes the form of a value as it was read, not None; None if that is the same. The form raises UnsendableError."""
    if not shape.is_list:
        return _writer(shape.kind, forms)
    element, listed = _writer(shape.kind, forms), forms.listed

    def write_list(value: Any) -> Any:
        parts = json.loads(value) if shape.packed else value
        written = _written(parts, element)
        return listed(written) if listed and written else written

    return write_list


def member_writer(shape: Shape, member: Member, *, subscribe: bool) -> Form:
    """subscribe: the values may opt in again."""
    plain = writer(shape, PLAIN)

    def write(value: Any) -> Any:
        written = member.form(plain(value) if plain else value)
        return written if subscribe or member.opt_outs is None else member.opt_outs(written)

    return write


def _writer(kind: Kind, forms: Forms) -> Form | None:
    if kind is Kind.JSON:
        return _json_writer(forms)
    read, form = {
        Kind.TEXT: (None, forms.text),
        Kind.BOOLEAN: (None, forms.boolean),
        Kind.SMALL: (None, forms.small),
        Kind.BIG: (None, forms.big),
        Kind.NUMERIC: (digits, forms.numeric),
        Kind.REAL: (real, forms.real),
        Kind.DOUBLE: (finite, forms.real),
        Kind.DATE: (date, forms.date),
        Kind.MOMENT: (moment, forms.moment),
        Kind.LOCAL_MOMENT: (local_moment, forms.local_moment),
        Kind.INTERVAL: (interval, forms.text),
        Kind.OTHER: (None, forms.text),
    }[kind]
    if read is None or form is None:
        return read or form
    return lambda value: form(read(value))


def _json_writer(forms: Forms) -> Form:
    """A single text, number or boolean in JSON is what the same value of SQL is."""
    number = _writer(Kind.NUMERIC, forms)

    def write(text: str) -> Any:
        value = single(text)
        match value:
            case None:
                return forms.document(text) if forms.document else text
            case bool():
                return forms.boolean(value) if forms.boolean else value
            case Number():
                return number(value.text) if number else value.text
        return forms.text(value) if forms.text else value

    return write


def _written(parts: list[Any], element: Form | None) -> list[Any]:
    found = []
    for part in parts:
        if part is None:
            continue
        value = _written(part, element) if isinstance(part, list) else element(part) if element else part
        if value is not None and value != [] and not (isinstance(value, str) and not value.strip()):
            found.append(value)
    return found


def flat(parts: list[Any]) -> list[Any]:
    """A list without lists in it."""
    return [one for part in parts for one in (flat(part) if isinstance(part, list) else [part])]


# What any client that speaks JSON can send. Those of other packages get it.
PLAIN = Forms(big=exact_whole, numeric=exact, document=document)
