"""Who stands in the way, as people say it."""

from collections.abc import Mapping, Sequence
from typing import Any

from crm_sync.core.durations import span


def holders(rows: Sequence[Mapping[str, Any]], what: str = "It is in use by") -> str:
    """One sentence on whom somebody waits for. rows: of find_holders.sql or find_blockers.sql, as the role may see them."""
    return f"{what} {', '.join(map(_holder, rows))}" if rows else "It was in use a moment ago"


def _holder(row: Mapping[str, Any]) -> str:
    lasted = "" if row["age_s"] is None else f" for {span(row['age_s'])}"
    return f"{row['kind'] or 'a session'} (pid {row['pid']}){lasted}"
