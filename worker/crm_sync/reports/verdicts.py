"""What the database says of one contact, judged for each CRM: the same for `crm-sync why`, the API and the console."""

import json

from crm_sync.configuration import Configuration
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.verdict import Known, Verdict, judge
from crm_sync.table.schema import Schema


async def tell_verdicts(
    database: Database, configuration: Configuration, schema: Schema, key: str, only: str | None = None
) -> list[Verdict]:
    """only: at this CRM. Raises as Database.fetch does."""
    rows = await database.fetch(query("tell_verdicts"), key)
    return [
        judge(row["crm"], row["verdict"], json.loads(row["facts"]), _known(configuration, schema, row["crm"]))
        for row in rows
        if only is None or row["crm"] == only
    ]


def _known(configuration: Configuration, schema: Schema, crm: str) -> Known:
    try:
        account = configuration.account(crm)
    except ConfigurationError:  # that is a worker's matter
        account = None
    return Known(schema.faults.get(crm), None if account is None else account.record_url)
