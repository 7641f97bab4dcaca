"""What several rows of one address say of consent, where one of them is sent for all.

The row that was flipped last says it, as it says the fields. An opt-out of any other row is added to that, and outweighs an
opt-in. A row that says nothing is no objection. So nobody is opted in whom one of these rows opts out, and no row counts as
delivered before its opt-out is. Of rows that are sent one after another, each says its own.

And what of a value opts in, so that what nobody asked for, such as a comparison, undoes no opt-out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crm_sync.core.outcome import is_empty

# Of the row that is sent, and of the others, the latest first: what they say, by name; without those that say nothing of it.
Together = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], dict[str, Any]]


def over_fields(names: Mapping[str, str], together: Together) -> Together:
    """The same for all fields of contacts. names: of the mapping, each with the name that together knows it by."""

    def consent(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {known: value for name, known in names.items() if (value := fields.get(name)) is not None}

    def merged(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        said = together(consent(own), [consent(one) for one in others])
        return {**own, **{name: said.get(known) for name, known in names.items()}}

    return merged


def opting_in(value: Any, opt_outs: Callable[[Any], Any]) -> Any:
    """The part of this value that opts in; None if none does. opt_outs: keeps the part that opts out (`Member.opt_outs`)."""
    kept = opt_outs(value)
    if is_empty(kept):
        return value
    return [one for one in value if one not in kept] or None if isinstance(value, list) else None
