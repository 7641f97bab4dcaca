"""A configured CRM account: what a lane is made from."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from crm_sync.core.rate import Remaining, Window, parse
from crm_sync.core.values import PLAIN, Forms
from crm_sync.crm.client import Client
from crm_sync.crm.exchange import Wire, Witness
from crm_sync.crm.http import REQUEST_TIMEOUT_S, Http, require_https
from crm_sync.crm.limiter import Limiter
from crm_sync.crm.proxy import proxy_for
from crm_sync.environment import read, read_lane
from crm_sync.errors import ConfigurationError
from crm_sync.settings import LaneSettings, ProxySettings, SettingsModel, TransportSettings

Open = Callable[[Limiter], AbstractAsyncContextManager[Client]]
Witnessed = Callable[[Witness | None, Wire | None], Open]


@dataclass(frozen=True, slots=True)
class Account:
    """default_fields: CRM field -> column, for tables that have it. open: opens its client, for the lifetime of the lane; the
    limiter decides when its requests start. windows: the account's limits; empty for no limit. forms: how it takes each kind of
    value.

    witnessed: the same with a witness who sees every request. With a wire, nothing reaches the CRM. None if that cannot be
    guaranteed. proxy: the proxy in use, for people. record_url: the page of a record in the CRM, with {id} in it; None if
    unknown. required: fields that the mapping must send, each with the setting that names it.
    """

    default_fields: Mapping[str, str]
    open: Open
    windows: Sequence[Window] = ()
    witnessed: Witnessed | None = None
    proxy: str | None = None
    forms: Forms = PLAIN
    record_url: str | None = None
    required: Mapping[str, str] = field(default_factory=dict)


def over_http(
    crm: str,
    client: Callable[[Http], Client],
    *,
    url_setting: str,
    base_url: str,
    headers: Mapping[str, str],
    default_fields: Mapping[str, str],
    limits: str = "none",
    remaining: Callable[[Mapping[str, str]], Sequence[Remaining]] = lambda _: (),
    timeout_s: float = REQUEST_TIMEOUT_S,
    forms: Forms = PLAIN,
    record_url: str | None = None,
    required: Mapping[str, str] = MappingProxyType({}),
) -> Account:
    """An account that is reached over HTTP. headers: of every request, including the credentials.

    limits: of requests by the whole account, over all workers, in the form of its setting <CRM>_LIMITS, which takes precedence.
    remaining: reads from an answer's headers what is left of them. required: as in Account. Raises ConfigurationError that names
    url_setting if keys and personal data must not be sent to this URL, or a proxy that cannot be used.
    """
    require_reachable(url_setting, base_url, read(TransportSettings))
    _require_sendable(crm, headers)
    proxy = proxy_for(base_url, read(ProxySettings))
    lane = read_lane(crm)

    def opening(witness: Witness | None, wire: Wire | None) -> Open:
        @asynccontextmanager
        async def open_client(limiter: Limiter) -> AsyncIterator[Client]:
            async with Http(
                base_url,
                headers,
                limiter=limiter,
                remaining=remaining,
                timeout_s=timeout_s,
                proxy=proxy,
                witness=witness,
                wire=wire,
            ) as http:
                opened = _limited(client(http), lane)
                opened.leaves_trail = True
                yield opened

        return open_client

    windows = parse(lane.limits or limits)
    return Account(
        default_fields, opening(None, None), windows, opening, str(proxy) if proxy else None, forms, record_url, required
    )


def require_reachable(url_setting: str, base_url: str, transport: TransportSettings) -> None:
    """Raises ConfigurationError that names url_setting if keys and personal data must not be sent to this URL."""
    try:
        require_https(url_setting, base_url, allowed=transport.hosts(_port(base_url)))
    except ConfigurationError as error:
        if transport.http_allowed_hosts and base_url.startswith("http:"):
            raise ConfigurationError(f"{error}, which allows {transport.http_allowed_hosts}") from None
        raise


def require_none(url_setting: str, settings: SettingsModel) -> None:
    """An incomplete set of settings is a mistake; none at all means no lane. settings: without the URL. Raises
    ConfigurationError.
    """
    if half := [name.upper() for name in sorted(settings.model_fields_set)]:
        raise ConfigurationError(
            f"{url_setting}: not set, but {', '.join(half)} {'is' if len(half) == 1 else 'are'}: set all of them, or none"
        )


def _port(url: str) -> int:
    """0 if it is not a URL."""
    try:
        return urlsplit(url).port or 80
    except ValueError:
        return 0


def _require_sendable(crm: str, headers: Mapping[str, str]) -> None:
    """Raises ConfigurationError. Settings of type Key are refused by name before they get here."""
    for name, value in headers.items():
        if not re.fullmatch(r"[ -~]*", value):
            raise ConfigurationError(
                f"{crm}: the header {name} contains characters that cannot be sent: check the setting that holds its key"
            )


def _limited(client: Client, lane: LaneSettings) -> Client:
    """Reduces the client's capabilities to what the settings allow."""
    client.concurrency = lane.concurrency or client.concurrency
    client.batch_limit = min(lane.batch_size or client.batch_limit, client.batch_limit)
    return client
