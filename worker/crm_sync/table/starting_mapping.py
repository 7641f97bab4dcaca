"""A first MAPPING_FILE for a table: each field of a CRM with the column that most likely fits."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from crm_sync.core.text import printable
from crm_sync.postgres.statements import quote
from crm_sync.table.adopted_table import OWN_COLUMNS, ROLL_UP

LINE = 100
# What applications call the column that crm-sync calls first_name, ignoring case and punctuation.
SYNONYMS: Mapping[str, Sequence[str]] = {
    "first_name": ("givenname", "forename"),
    "last_name": ("surname", "familyname"),
    "phone": ("phonenumber", "telephone", "mobile", "mobilephone"),
    "company": ("companyname", "organization", "organisation"),
    "job_title": ("position",),
    "website": ("websiteurl", "homepage"),
    "address": ("street", "streetaddress", "addressline1"),
    "city": ("town",),
    "state": ("region", "province"),
    "zip": ("zipcode", "postcode", "postalcode"),
}
# If the table has one column for both names.
WHOLE_NAME = ("name", "fullname")
PARTS: Mapping[str, str] = {
    "first_name": "split_part({name}, ' ', 1)",
    "last_name": "NULLIF(split_part({name}, ' ', -1), {name})",
}


class Known(NamedTuple):
    """A column of the table. written: its name as SQL writes it, with quotes only where it needs them."""

    written: str
    is_text: bool


class _Sent(NamedTuple):
    expression: str
    column: str


def starting_mapping(table: str, email: str, columns: Mapping[str, Known], crms: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the text of the file.

    email: the column with the address. columns: by name. crms: by name, each field with the column in crm-sync's default mapping.
    """
    named = {crm: {field: _sent(usual, columns) for field, usual in fields.items()} for crm, fields in crms.items()}
    lines = [
        f"# What is sent from {printable(table, LINE)}: the fields of each CRM, each with an SQL expression over a row.",
        "# `crm-sync check` says whether they are right. A running worker reads changes at SIGHUP (systemctl reload).",
    ]
    for crm, fields in named.items():
        lines += ["", f"[{crm}]", f"email = {_toml(columns[email].written if email in columns else quote(email))}"]
        lines += [f"{field} = {_toml(sent.expression)}" for field, sent in fields.items() if sent is not None]
    used = {email, *(sent.column for fields in named.values() for sent in fields.values() if sent is not None)}
    unused = [name for name in columns if name not in used and not _is_ours(name, crms)]
    if unused:
        lines += ["", "# Not sent:", *_listed(unused)]
    return "\n".join([*lines, ""])


def _sent(usual: str, columns: Mapping[str, Known]) -> _Sent | None:
    """None if no column is likely."""
    if usual in columns:
        return _Sent(columns[usual].written, usual)
    folded: dict[str, str] = {}
    for name, column in columns.items():
        if column.is_text:
            folded.setdefault(_folded(name), name)
    for likely in (_folded(usual), *SYNONYMS.get(usual, ())):
        if likely in folded:
            return _Sent(columns[folded[likely]].written, folded[likely])
    whole = next((folded[name] for name in WHOLE_NAME if name in folded), None)
    return None if whole is None or usual not in PARTS else _Sent(PARTS[usual].format(name=columns[whole].written), whole)


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _is_ours(name: str, crms: Mapping[str, Mapping[str, str]]) -> bool:
    suffixes = "|".join((*OWN_COLUMNS, "contact_id", "workflow_id"))
    return name in ROLL_UP or re.fullmatch(rf"[a-z0-9_]+_(?:{suffixes})", name) is not None


def _toml(text: str) -> str:
    """TOML's basic strings are written like JSON strings. Where that needs escapes, its literal strings are easier to read."""
    basic = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"'{text}'" if "\\" in basic and re.fullmatch(r"[^'\x00-\x1f\x7f]+", text) else basic


def _listed(names: Sequence[str]) -> Iterator[str]:
    line = "#"
    for number, name in enumerate(names, 1):
        word = printable(name, LINE) + ("," if number < len(names) else "")
        if len(line) + len(word) > LINE:
            yield line
            line = "#"
        line += f" {word}"
    yield line
