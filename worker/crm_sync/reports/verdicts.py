"""What the database says about one contact, judged for each CRM: the same for `crm-sync why`, the API and the console."""

import json
from datetime import UTC, datetime
from typing import Any

from crm_sync.configuration import Configuration
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.verdict import Known, Verdict, judge
from crm_sync.table.schema import Schema

FIRST, LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


async def tell_verdicts(
    database: Database, configuration: Configuration, schema: Schema, key: str, only: str | None = None
) -> list[Verdict]:
    """only: in this CRM. Raises as Database.fetch does."""
    rows = await database.fetch(query("tell_verdicts"), key)
    return [
        judge(row["crm"], row["verdict"], _readable(json.loads(row["facts"])), _known(configuration, schema, row["crm"]))
        for row in rows
        if only is None or row["crm"] == only
    ]


def _readable(facts: Any) -> Any:
    """Times that Postgres has but Python does not become the first or the last that Python has: an application that may insert
    rows can write them, and the content of a row must never make an answer fail.
    """
    if isinstance(facts, dict):
        return {name: _moment(value) if name.endswith("_at") else _readable(value) for name, value in facts.items()}
    return [_readable(one) for one in facts] if isinstance(facts, list) else facts


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return _readable(value)
    try:
        # There is a day before it and after it in every time zone.
        return min(max(datetime.fromisoformat(value), FIRST), LAST).isoformat()
    except ValueError:
        return (FIRST if value.startswith("-") or value.endswith("BC") else LAST).isoformat()


def _known(configuration: Configuration, schema: Schema, crm: str) -> Known:
    try:
        account = configuration.account(crm)
    except ConfigurationError:  # that concerns workers only
        account = None
    return Known(schema.faults.get(crm), None if account is None else account.record_url)
