"""What `crm-sync match` says about its progress."""

from crm_sync.core.text import clean
from crm_sync.errors import CrmSyncError
from crm_sync.table.matching import MatchCounts


def on_the_way(crm: str, counts: MatchCounts, *, goes_on: bool = False) -> str:
    beginning = f"{crm}: continues where it was interrupted" if goes_on else f"{crm}: in progress"
    return f"{beginning}; {_counted(crm, counts)}"


def broken_off(crm: str, counts: MatchCounts, error: CrmSyncError) -> str:
    return f"{crm}: interrupted. {clean(str(error))}\n{_counted(crm, counts)}. `crm-sync match {crm}` continues from there."


def ended(crm: str, counts: MatchCounts) -> str:
    lines = [f"{crm}: {_counted(crm, counts)}."]
    if counts.ambiguous:
        lines.append(
            f"Several records of {crm} have the address or the key of an ambiguous contact, or the record with its address has "
            "another key: merge or correct them there, and run this again."
        )
    if counts.left_alone:
        lines.append("Contacts that were locked or flipped in the meantime were left alone: run this again.")
    return "\n".join(lines)


def _counted(crm: str, counts: MatchCounts) -> str:
    parts = [
        f"{counts.looked_for:,} looked up",
        f"{counts.found:,} matched",
        f"{counts.unknown:,} unknown to {crm}",
        f"{counts.ambiguous:,} ambiguous",
        *([f"{counts.left_alone:,} left alone"] if counts.left_alone else []),
        *([f"{counts.unaddressed:,} more without a valid address or key"] if counts.unaddressed else []),
    ]
    return ", ".join(parts)
