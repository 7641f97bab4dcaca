"""How a value of a row is converted for a CRM: read without loss as a kind, and written in a form that the CRM accepts.

    the row          numeric 1.50, timestamptz, int[], jsonb, ...
    as it is read    by SQL that does not depend on database settings: `crm_sync.table.kinds`
    as a kind        exact and finite, else the contact fails with MAPPING_FAILED: the readers here and in `numbers`
    as a form        what this CRM accepts for that kind: `Forms`, one table for each CRM in `crm_sync.crm.values`

Kinds that are sent as they are read need no work per value: `writer` returns None for them.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, NamedTuple

from crm_sync.core.consent import Together
from crm_sync.core.documents import Number, document, single
from crm_sync.core.numbers import digits, exact, exact_whole, finite, real
from crm_sync.errors import UnsendableError

Form = Callable[[Any], Any]

_NO_DATE = "infinite dates, and those before the year 1 or after 9999, are not accepted by any CRM"
NO_NUL = "the JSON has a NUL character (\\u0000), which this CRM does not store"
_NO_INTERVAL = "an infinite interval is not accepted by any CRM"


class Kind(Enum):
    """What a Postgres type is to a CRM."""

    TEXT = auto()
    BOOLEAN = auto()
    SMALL = auto()  # an integer that is exact everywhere
    BIG = auto()  # a 64-bit integer
    NUMERIC = auto()  # read as text
    REAL = auto()  # 32 bits, which Postgres's drivers widen: 4.7 becomes 4.699999809265137
    DOUBLE = auto()
    DATE = auto()
    MOMENT = auto()
    LOCAL_MOMENT = auto()  # without a time zone
    JSON = auto()
    INTERVAL = auto()  # as Postgres writes it, except infinite ones
    OTHER = auto()  # as Postgres writes it


class Shape(NamedTuple):
    """A kind, or a list of it. packed: the list is read as JSON text."""

    kind: Kind
    is_list: bool = False
    packed: bool = False


class Member(NamedTuple):
    """A name in the mapping that is not a field of the CRM's contact. form: converts a value, given as any JSON client would get
    it, to what is sent. opt_outs: keeps only opt-outs; None for a name that opts nobody in. Both raise UnsendableError.

    needs: the permission that the CRM's key needs for it, in words; empty if any key will do. takes: the kinds of which at least
    some values can be sent; lists: the same for the elements of a list. wants: the same in words, after "must be". joins: it puts
    contacts on lists that a person can leave in the CRM.
    """

    form: Form
    opt_outs: Form | None = None
    needs: str = ""
    takes: frozenset[Kind] = frozenset(Kind)
    lists: frozenset[Kind] = frozenset(Kind)
    wants: str = "a value of another type"
    joins: bool = False


class Apart(NamedTuple):
    """Two names whose ids exclude each other in one contact: what it joins, and what it leaves. noun: what an id is of."""

    joins: str
    leaves: str
    noun: str


@dataclass(frozen=True, slots=True)
class Forms:
    """How one CRM wants each kind, after its reader. None: as it is read.

    listed: makes the form of a list from its elements' forms, which are neither None nor blank; an element can itself be such a
    list. members: the names that are not fields; apart: those of them that exclude each other. together: what is sent of these
    names if one of several rows is sent for all; without it, the row's own. spelled: how the client spells the name of a field.
    clears: the client empties the fields in `Contact.emptied`. looks_first: it heeds `Client.if_empty`.
    takes_local_moments: if false, timestamps without a time zone are refused, because they are ambiguous. takes_nul: if false, a
    text with a NUL character is refused; only JSON can have one. longest: characters of
    one value; longer ones are not sent. For n8n and others that publish no limit it is our own, because contacts in flight are
    held in memory.
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
    takes_nul: bool = True
    looks_first: bool = False
    members: Mapping[str, Member] = field(default_factory=dict)
    apart: Sequence[Apart] = ()
    together: Together | None = None
    spelled: Callable[[str], str] = str
    clears: bool = False
    _spelled: Mapping[str, str] = field(init=False, repr=False, compare=False)  # looked up for each field of each contact

    def __post_init__(self) -> None:
        object.__setattr__(self, "_spelled", {known.lower(): known for known in self.members})

    def member(self, name: str) -> str | None:
        """The CRM's spelling of such a name; None for a field."""
        return self._spelled.get(name.lower())

    def fields_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of these values whose names are not such names."""
        spelled = self._spelled
        return {name: value for name, value in values.items() if name.lower() not in spelled}

    def members_among(self, names: Iterable[str]) -> dict[str, str]:
        """The CRM's spelling of each such name among these."""
        spelled = self._spelled
        return {name: spelled[lower] for name in names if (lower := name.lower()) in spelled}


# Dates and times, which SQL has converted to text.

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?([+-]\d\d:\d\d(?::\d\d)?)?")


def date(text: str) -> str:
    """YYYY-MM-DD."""
    if _DATE.fullmatch(text) is None:
        raise UnsendableError(_NO_DATE)
    return text


def moment(text: str) -> str:
    """ISO 8601 in UTC, with milliseconds and Z. text: in UTC unless it has another offset."""
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
    """ISO 8601 with milliseconds and without a zone."""
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


# What is converted to what.


def writer(shape: Shape, forms: Forms) -> Form | None:
    """A function that converts a value that is not None, as it was read, to its form; None if they are the same. The function
    raises UnsendableError.
    """
    if not shape.is_list:
        return _writer(shape.kind, forms)
    element, listed = _writer(shape.kind, forms), forms.listed

    def write_list(value: Any) -> Any:
        parts = json.loads(value) if shape.packed else value
        written = _written(parts, element)
        return listed(written) if listed and written else written

    return write_list


def member_writer(shape: Shape, member: Member, *, subscribe: bool) -> Form:
    """subscribe: the values may opt contacts in again."""
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
    """A single text, number or boolean in JSON is sent like the same value in SQL."""
    number = _writer(Kind.NUMERIC, forms)

    def write(text: str) -> Any:
        value = single(text)
        if not forms.takes_nul and isinstance(value, str) and "\0" in value:
            raise UnsendableError(NO_NUL)
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
    """A flat list, without nested lists."""
    return [one for part in parts for one in (flat(part) if isinstance(part, list) else [part])]


# What any JSON client can send. Plug-in clients get it.
PLAIN = Forms(big=exact_whole, numeric=exact, document=document)
