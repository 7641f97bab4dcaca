"""The fields of a CRM, compared with what the mapping sends to them.

Only what can never arrive is a misfit: a field that does not exist or is read-only; a type of which the CRM accepts no value; an
enum label that is not one of the CRM's options. Whatever depends on the value is judged per contact, when it is sent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crm_sync.core.text import printable
from crm_sync.core.values import Kind, Shape

LONGEST_NAME = 100
MOST_SHOWN = 12  # options listed in one sentence

NUMBERS = frozenset({Kind.SMALL, Kind.BIG, Kind.NUMERIC, Kind.REAL, Kind.DOUBLE})
WRITTEN = frozenset({Kind.TEXT, Kind.OTHER, Kind.INTERVAL})  # sent as text, whatever the value
DATES = frozenset({Kind.DATE, Kind.MOMENT, Kind.LOCAL_MOMENT})
ANY = frozenset(Kind)


class SentField(NamedTuple):
    """What the mapping sends to one field. type: Postgres's name. labels: all values of an enum, or of an enum list."""

    name: str
    type: str
    shape: Shape
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RemoteField:
    """A field of a CRM. type: the CRM's name for it.

    takes: the kinds of which it accepts at least some values. lists: the kinds that elements of a list may have. options: the
    only texts it accepts, as sent; None for any. obstacle: why it cannot be written. shown: its name in the CRM's interface.
    """

    name: str
    type: str
    takes: frozenset[Kind] = ANY
    lists: frozenset[Kind] = frozenset()
    options: tuple[str, ...] | None = None
    obstacle: str | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)


class Misfit(NamedTuple):
    """Why what is sent to a field cannot arrive. missing: the CRM has no such field."""

    name: str
    words: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class RemoteSchema:
    """crm, noun: the names of the CRM and its fields, such as `HubSpot` and `property`.

    fields: by their names as they are sent. `beside`: names that the client sends as something other than a field. spelled: how
    the client spells a name from the mapping. others: the field for any other name, if the CRM accepts fields of any name; None
    if it has only `fields`.
    """

    crm: str
    noun: str
    fields: Mapping[str, RemoteField]
    beside: frozenset[str] = frozenset()
    spelled: Callable[[str], str] = str
    others: RemoteField | None = None

    def misfits(self, sent: Iterable[SentField]) -> list[Misfit]:
        """In the order of the mapping."""
        found = []
        for one in sent:
            name = self.spelled(one.name)
            if name in self.beside:
                continue
            field = self.fields.get(name, self.others)
            misfit = self._missing(one.name) if field is None else self._misfit(one, field)
            if misfit is not None:
                found.append(misfit)
        return found

    def _missing(self, name: str) -> Misfit:
        alike = next((known for known in self.fields if known.lower() == name.lower()), None)
        if alike is not None:
            words = f"{self.crm} has no {self.noun} {_shown(name)}, but {_shown(alike)}: use that name in the mapping"
        else:
            words = f"{self.crm} has no {self.noun} {_shown(name)}: create it there, or remove it from the mapping"
        return Misfit(name, words, missing=True)

    def _misfit(self, sent: SentField, field: RemoteField) -> Misfit | None:
        name = _shown(sent.name)
        if field.obstacle is not None:
            words = f"{self.crm}'s {self.noun} {name} {field.obstacle}: remove it from the mapping"
        elif sent.shape.kind not in (field.lists if sent.shape.is_list else field.takes):
            words = (
                f"{name} is {_with_article(sent.type)} in the mapping, and {_with_article(field.type)} in {self.crm}, "
                f"which does not accept it: {self._advice(sent, field)}"
            )
        elif others := _no_options(sent, field):
            words = (
                f"{name} ({sent.type}) can be {_listed(others)}, which is not an option of the {self.noun} in {self.crm}. "
                f"It has {_listed(field.options or ()) or 'none'}: add what is missing there, or write the option in the mapping"
            )
        else:
            return None
        return Misfit(sent.name, words)

    def _advice(self, sent: SentField, field: RemoteField) -> str:
        match sent.shape:
            case Shape(Kind.MOMENT | Kind.LOCAL_MOMENT, False) if Kind.DATE in field.takes:
                return "say which day is meant, ((...) AT TIME ZONE 'Europe/Berlin')::date"
            case Shape(Kind.DATE, False) if Kind.MOMENT in field.takes:
                return "say which moment is meant, (...)::timestamp AT TIME ZONE 'Europe/Berlin'"
            case Shape(_, False) if Kind.TEXT in field.takes:
                return f"cast it in the mapping, (...)::text, or change the {self.noun} in {self.crm}"
        return f"cast it in the mapping, or change the {self.noun} in {self.crm}"


def told(misfits: Iterable[Misfit]) -> str:
    """All of them on one line."""
    return "; ".join(misfit.words for misfit in misfits)


def _no_options(sent: SentField, field: RemoteField) -> list[str]:
    if field.options is None:
        return []
    labels: Iterable[str] = sent.labels or ()
    if sent.shape.kind is Kind.BOOLEAN:
        labels = ("true", "false")
    return [label for label in labels if label.strip() and label.strip() not in field.options]


def _listed(texts: Iterable[str]) -> str:
    shown = [_shown(text) for text in texts]
    more = f" and {len(shown) - MOST_SHOWN} others" if len(shown) > MOST_SHOWN else ""
    return ", ".join(shown[:MOST_SHOWN]) + more


def _shown(text: str) -> str:
    return printable(text, LONGEST_NAME)


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {_shown(name)}"
