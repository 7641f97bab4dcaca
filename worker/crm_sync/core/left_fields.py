"""The fields that a delivery left out, at the head of the error in the row: `FIELD_NOT_SENT: CITY, SMS: reason`.

So that what reads the row later goes by names, and not by the words of a reason.
"""

from collections.abc import Collection

from crm_sync.core.codes import Code
from crm_sync.core.text import printable

LONGEST_HEAD = 400  # characters; names beyond are left out
_AFTER_NAMES, _BETWEEN = ": ", ", "


def headed(names: Collection[str], reason: str) -> str:
    """The reason, with the names in front of it unless it begins with them."""
    head = ""
    for name in sorted(names):
        longer = f"{head}{_BETWEEN if head else ''}{printable(name, LONGEST_HEAD)}"
        if len(longer) > LONGEST_HEAD:
            break
        head = longer
    return reason if not head or reason.startswith(head + _AFTER_NAMES) else f"{head}{_AFTER_NAMES}{reason}"


def left_out(error: str | None) -> frozenset[str]:
    """The names in such an error. Empty for errors of other codes."""
    code, _, rest = (error or "").partition(_AFTER_NAMES)
    names, separator, _ = rest.partition(_AFTER_NAMES)
    return frozenset(names.split(_BETWEEN)) if code == Code.FIELD_NOT_SENT and separator else frozenset()
