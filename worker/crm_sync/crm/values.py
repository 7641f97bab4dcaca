"""How each CRM takes each kind of value: the table of docs/reference/mapping.md, as functions."""

from dataclasses import replace
from typing import Any

from crm_sync.core.documents import document, document_text, has_nul, plain_text
from crm_sync.core.numbers import exact, exact_whole, number_text
from crm_sync.core.values import NO_NUL, PLAIN, Forms, flat
from crm_sync.crm import members, together
from crm_sync.errors import UnsendableError

_BYTE_ORDER_MARK = "\ufeff"  # text imported from a Windows file can begin with it
# Whitespace and invisible characters: HubSpot accepts neither at the ends of a value that is not a string.
_BLANK = "".join(
    map(chr, [*filter(lambda code: chr(code).isspace(), range(0x3001)), 0x200B, 0x200C, 0x200D, 0x2060, ord(_BYTE_ORDER_MARK)])
)


def _bare(text: str) -> str:
    return text.strip(_BLANK)


def _unmarked(text: str) -> str:
    return text.removeprefix(_BYTE_ORDER_MARK)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _with_blank(iso: str) -> str:
    """YYYY-MM-DD HH:MM:SS."""
    return f"{iso[:10]} {iso[11:19]}"


def _joined(parts: list[Any]) -> str:
    """The form in which HubSpot takes several options."""
    texts = [text for part in flat(parts) if (text := _bare(plain_text(part)))]
    if any(";" in text for text in texts):
        raise UnsendableError("an element of the list has a semicolon, which HubSpot takes for the end of an option")
    return ";".join(texts)


def _options(parts: list[Any]) -> list[Any]:
    found = flat(parts)
    if any(isinstance(part, str) and "|" in part for part in found):
        raise UnsendableError("an element of the list has a vertical bar, which Mautic takes for the end of an option")
    return found


def _texts(parts: list[Any]) -> list[str]:
    return [plain_text(part) for part in flat(parts)]


# Characters of one value. HubSpot's limit [CRM properties: 65,536]; Mautic's columns of type text hold as many bytes [MySQL
# manual, "Data Type Storage Requirements"]; Brevo documents none, so the same is used.
_LONGEST = 65_536


def _storable(text: str) -> Any:
    """A document whose texts go out as they are."""
    if has_nul(text):
        raise UnsendableError(NO_NUL)
    found = document(text)
    if isinstance(found, list):
        _options(found)
    return found


# No vendor says what becomes of a NUL character in a contact, and what is cut at it or dropped is not what the row has. n8n takes
# any JSON. In a document that is sent as its text, it stays an escape.

# Everything is text [HubSpot's OpenAPI]; datetime is ISO 8601 with T and a zone, several options are joined by semicolons
# [HubSpot, CRM properties]. Since April 2025 whitespace around the value of a property that is not a string is refused
# [changelog].
HUBSPOT = Forms(
    members=members.HUBSPOT,
    apart=members.LISTS,
    together=together.hubspot,
    clears=True,
    text=_bare,
    boolean=_truth,
    small=str,
    big=str,
    real=number_text,
    takes_local_moments=False,
    document=document_text,
    listed=_joined,
    longest=_LONGEST,
    takes_nul=False,
)

# Attributes are number, string, boolean, or an array of strings [Brevo's OpenAPI, "Create a contact"].
BREVO = Forms(
    members=members.BREVO,
    apart=members.LISTS,
    together=together.brevo,
    spelled=str.upper,
    clears=True,
    looks_first=True,
    text=_bare,
    big=exact_whole,
    numeric=exact,
    takes_local_moments=False,
    document=document_text,
    listed=_texts,
    longest=_LONGEST,
    takes_nul=False,
)

# Timestamps as its API documents them, in UTC. PHP writes true as 1 and false as an empty string. Several options are joined by
# vertical bars [mautic/mautic: LeadModel, setFieldValues].
MAUTIC = Forms(
    members=members.MAUTIC,
    apart=members.SEGMENTS,
    together=together.mautic,
    clears=True,
    looks_first=True,
    text=_bare,
    boolean=int,
    big=exact_whole,
    numeric=exact,
    moment=_with_blank,
    local_moment=_with_blank,
    document=_storable,
    listed=_options,
    longest=_LONGEST,
    takes_nul=False,
)

# Everything unchanged.
N8N = replace(PLAIN, text=_unmarked, clears=True)
