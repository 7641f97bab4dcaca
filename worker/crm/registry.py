"""Which CRMs this worker can talk to."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from worker.crm import brevo
from worker.crm.client import Client
from worker.crm.http import Http, require_https
from worker.database import Database
from worker.pace import Pace
from worker.settings import BrevoSettings, read


@dataclass(frozen=True, slots=True)
class Account:
    """One CRM account, configured. open: its client and pace, for as long as the lane lives."""

    default_fields: Mapping[str, str]
    open: Callable[[Database], AbstractAsyncContextManager[tuple[Client, Pace]]]


def _brevo() -> Account | None:
    settings = read(BrevoSettings)
    key = settings.brevo_api_key
    if key is None:
        return None
    base_url = require_https("BREVO_BASE_URL", settings.brevo_base_url)

    @asynccontextmanager
    async def open_client(database: Database) -> AsyncIterator[tuple[Client, Pace]]:
        requests_per_s = settings.brevo_requests_per_second or None
        pace = Pace(database, "brevo", requests_per_s)
        headers = {"api-key": key.get_secret_value()}
        async with Http(base_url, headers, concurrency=brevo.Brevo.concurrency, pace=pace) as http:
            yield brevo.Brevo(http, list_id=settings.brevo_list_id), pace

    return Account(brevo.DEFAULT_FIELDS, open_client)


# What each CRM needs before it has a lane: credentials. None: it has none.
ACCOUNTS: Mapping[str, Callable[[], Account | None]] = {"brevo": _brevo}


def configured() -> dict[str, Account]:
    """The CRMs with credentials. Raises ConfigurationError naming a wrong setting."""
    accounts = {crm: read_account() for crm, read_account in ACCOUNTS.items()}
    return {crm: account for crm, account in accounts.items() if account is not None}
