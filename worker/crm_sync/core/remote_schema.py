"""The fields that a CRM has, held against what the mapping sends to them.

Only what can never arrive is a misfit: a field that is not there, or that nobody may write; a type of which the CRM takes no
value; a label of an enum that is none of the CRM's options. What depends on the value is the contact's, when it is sent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crm_sync.core.text import printable
from crm_sync.core.values import Kind, Shape

LONGEST_NAME = 100
MOST_SHOWN = 12  # options in one sentence

NUMBERS = frozenset({Kind.SMALL, Kind.BIG, Kind.NUMERIC, Kind.REAL, Kind.DOUBLE})
WRITTEN = frozenset({Kind.TEXT, Kind.OTHER, Kind.INTERVAL})  # sent as a text, whatever it says
DATES = frozenset({Kind.DATE, Kind.MOMENT, Kind.LOCAL_MOMENT})
ANY = frozenset(Kind)


class SentField(NamedTuple):
    """What the mapping sends to one field. type: as Postgres calls it. labels: all that an enum, or an element of it, can be."""

    name: str
    type: str
    shape: Shape
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RemoteField:
    """A field of a CRM. type: as the CRM calls it.

    takes: the kinds of which it takes at least some values; lists: of lists, those that their elements may have. options: the
    only texts that it takes, as they are sent; None for any. obstacle: why nobody can write to it. shown: as the CRM shows it.
    """

    name: str
    type: str
    takes: frozenset[Kind] = ANY
    lists: frozenset[Kind] = frozenset()
    options: tuple[str, ...] | None = None
    obstacle: str | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)


class Misfit(NamedTuple):
    """Why what is sent to a field cannot arrive there. missing: the CRM has no such field."""

    name: str
    words: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class RemoteSchema:
    """crm, noun: what people call it and its fields, `HubSpot` and `property`.

    fields: by their names as they are sent. `beside`: names that the client sends as something other than a field. spelled: how
    the client spells a name that the mapping has. others: what any other name is, at a CRM that takes fields of all names; None
    at those that have the fields above only.
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
    """All of them in one line."""
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
