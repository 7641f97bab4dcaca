"""A CRM account, configured: what a lane is made of."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from worker.crm.client import Client
from worker.crm.http import REQUEST_TIMEOUT_S, Http, require_https
from worker.database import Database
from worker.pace import Pace
from worker.settings import TransportSettings, read


@dataclass(frozen=True, slots=True)
class Account:
    """default_fields: CRM field -> column, for tables that have it. open: its client and pace, for as long as the lane lives."""

    default_fields: Mapping[str, str]
    open: Callable[[Database], AbstractAsyncContextManager[tuple[Client, Pace]]]


def over_http(
    crm: str,
    client: Callable[[Http], Client],
    *,
    url_setting: str,
    base_url: str,
    headers: Mapping[str, str],
    default_fields: Mapping[str, str],
    requests_per_s: float | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> Account:
    """An account that is reached over HTTP. headers: of every request, the credentials among them.

    requests_per_s: of the whole account, over all workers; None or 0 for no limit. Raises ConfigurationError naming url_setting
    where keys and personal data must not be sent to such a URL.
    """
    require_https(url_setting, base_url, allowed=read(TransportSettings).hosts)

    @asynccontextmanager
    async def open_client(database: Database) -> AsyncIterator[tuple[Client, Pace]]:
        pace = Pace(database, crm, requests_per_s or None)
        async with Http(base_url, headers, pace=pace, timeout_s=timeout_s) as http:
            yield client(http), pace

    return Account(default_fields, open_client)
