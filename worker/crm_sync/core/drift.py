"""The result of comparing contacts with the records of a CRM: counts and a few examples, so its size is bounded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

EXAMPLES = 5  # for each field, and for contacts missing from the CRM


class Example(NamedTuple):
    """key: of the contact. row, crm: the values; None if they must not be shown."""

    key: str
    row: Any = None
    crm: Any = None


@dataclass(slots=True)
class FieldDrift:
    """contacts: how many differ in this field."""

    contacts: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, example: Example) -> None:
        self.contacts += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


@dataclass(slots=True)
class Drift:
    """Counts of contacts. compared: with a record; this includes differing, but not unknown and ambiguous.

    changed: delivered, flipped or edited while they were compared. in_line: in line or in flight. shared: another row has the
    same record, and may have been sent last. left: not overwritten in the CRM (ALREADY_THERE). unreadable: the mapping fails for
    them. undelivered: never delivered, withdrawn or in Error. flipped, locked, refused: of the differing ones. opted_out: those
    of them who have opted out in the CRM, and whom a delivery would opt in again; perhaps_opted_out: those whom it
    would, and the CRM does not show whether they have. off_list: those whom a delivery would put on a list that
    they are not on, perhaps because they have left it. None of these are flipped.

    fields: by name. not_stored: by field name, contacts for which the CRM does not store the field as sent, as the row says
    (FIELD_NOT_SENT). unread: the fields that the CRM does not return; moving: those that it changes by itself. limited: it
    stopped at the limit, with contacts left. last_key: of the contact compared last, if the comparison goes by keys.
    """

    compared: int = 0
    differing: int = 0
    unknown: int = 0
    ambiguous: int = 0
    changed: int = 0
    in_line: int = 0
    shared: int = 0
    left: int = 0
    unreadable: int = 0
    undelivered: int = 0
    fields: dict[str, FieldDrift] = field(default_factory=dict)
    not_stored: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    moving: list[str] = field(default_factory=list)
    limited: bool = False
    unknown_examples: list[str] = field(default_factory=list)
    flipped: int = 0
    locked: int = 0
    refused: int = 0
    opted_out: int = 0
    opted_out_examples: list[str] = field(default_factory=list)
    perhaps_opted_out: int = 0
    off_list: int = 0
    off_list_examples: list[str] = field(default_factory=list)
    last_key: str | None = None

    @property
    def looked_up(self) -> int:
        return self.compared + self.unknown + self.ambiguous

    @property
    def found(self) -> bool:
        """Whether there is any drift."""
        return bool(self.differing or self.unknown or self.ambiguous)

    def differs(self, name: str, example: Example) -> None:
        self.fields.setdefault(name, FieldDrift()).add(example)

    def is_unknown(self, key: str) -> None:
        self.unknown += 1
        if len(self.unknown_examples) < EXAMPLES:
            self.unknown_examples.append(key)

    def is_off_list(self, key: str) -> None:
        self.off_list += 1
        if len(self.off_list_examples) < EXAMPLES:
            self.off_list_examples.append(key)

    def has_opted_out(self, key: str) -> None:
        self.opted_out += 1
        if len(self.opted_out_examples) < EXAMPLES:
            self.opted_out_examples.append(key)

    def as_object(self) -> Mapping[str, Any]:
        """For scripts: keys, no values."""
        fields = {
            name: {"differing": one.contacts, "keys": [example.key for example in one.examples]}
            for name, one in sorted(self.fields.items())
        }
        return {**{name: value for name, value in asdict(self).items() if name != "fields"}, "fields": fields}
