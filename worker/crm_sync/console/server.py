"""The console's process: what it serves, and to whom."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from crm_sync.api.handling import LARGEST_BODY
from crm_sync.api.idempotency import Idempotency
from crm_sync.api.service import READERS, STATEMENT_S, WRITERS, Service
from crm_sync.configuration import Configuration
from crm_sync.console.answers import Answers
from crm_sync.console.api_server import add_api
from crm_sync.console.bodies import Bodies
from crm_sync.console.door import Door
from crm_sync.console.drawing import Drawing
from crm_sync.console.forms import Forms
from crm_sync.console.guard import HEADERS, LOOPBACK, Guard
from crm_sync.console.pages import LookingPages
from crm_sync.console.previews import Previews
from crm_sync.console.said_fields import SaidFields
from crm_sync.console.searches import Searches
from crm_sync.console.templating import FOLDER, Pages
from crm_sync.console.tokens import Tokens, of_setting, read_tokens
from crm_sync.console.uses import Uses
from crm_sync.console_settings import ConsoleSettings
from crm_sync.core.listen_address import ListenAddress
from crm_sync.errors import ConfigurationError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.visiting import ReadOnly, Visiting
from crm_sync.setting_types import listed
from crm_sync.telling.server_log import quote_nothing

IDLE_S = 75.0  # of a connection, and for the headers of a request: longer than a proxy keeps one, and not an hour
LONGEST_LINE = 65_536  # bytes of the request line: 5,000 characters of names, each up to 12 bytes when percent-encoded
STATIC_CACHE = "public, max-age=31536000, immutable"  # the URL contains the digest


@asynccontextmanager
async def running_console(
    configuration: Configuration, settings: ConsoleSettings, *, made_token: str | None = None
) -> AsyncIterator[str]:
    """Yields the URL. made_token: a token for this run, if none is configured.

    Raises ConfigurationError if it would be open to people it should not be open to, or cannot listen there.
    """
    address = settings.address
    guard = guard_for(settings, address, made_token)
    url = settings.console_database_url or configuration.settings.database_url
    behind_pooler = settings.console_database_url is None and configuration.settings.behind_pooler
    path = configuration.settings.mapping_path
    async with AsyncExitStack() as stack:
        common: dict[str, Any] = {"behind_pooler": behind_pooler, "timeout_s": STATEMENT_S, "mapping_path": path}
        reading = ReadOnly(url, size=READERS, **common)
        writing = Visiting(url, size=WRITERS, **common)
        await stack.enter_async_context(reading)
        await stack.enter_async_context(writing)
        service = Service(configuration, reading, writing)
        quote_nothing()
        runner = web.AppRunner(
            application(service, writing, guard), access_log=None, keepalive_timeout=IDLE_S, shutdown_timeout=5.0,
            max_line_size=LONGEST_LINE,
        )  # fmt: skip
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        yield await _listen(runner, address, guard.base, stack)


def guard_for(settings: ConsoleSettings, address: ListenAddress, made_token: str | None) -> Guard:
    """Raises ConfigurationError if the console would be open to people it should not be open to."""
    tokens = [of_setting(settings.console_token)] if settings.console_token is not None else []
    if settings.console_tokens_file is not None:
        tokens += read_tokens(settings.console_tokens_file)
    if made_token is not None:
        tokens.append(of_setting(made_token))
    header, proxies = settings.console_user_header, listed(settings.console_proxies)
    if header is not None and not proxies and not address.path:
        raise ConfigurationError(
            "CONSOLE_USER_HEADER: set CONSOLE_PROXIES to the address of the proxy too, or listen on a Unix socket: anyone who "
            "reaches the console could send this header"
        )
    if not tokens and header is None and not address.path:
        raise ConfigurationError(
            "the console would be open to anyone who reaches it: set CONSOLE_TOKEN (`openssl rand -base64 24` makes one), or "
            "listen on a Unix socket, CONSOLE_LISTEN=/run/crm-sync/console.sock"
        )
    hosts = {*listed(settings.console_hosts), *(() if address.path else LOOPBACK)}
    if not address.is_loopback:
        hosts.add(address.host)
    return Guard(
        Tokens(tokens), base=settings.console_base_path, hosts=hosts, user_header=header, proxies=proxies,
        is_open=bool(address.path) and not tokens and header is None,
    )  # fmt: skip


def application(service: Service, writing: Database, guard: Guard) -> web.Application:
    """The pages, everything they need, and a health check."""
    drawing = Drawing(Pages(guard.base, service.references), service.rights, signs_out=bool(guard.tokens))
    answers = Answers(drawing, guard.base)
    uses = Uses(guard.tokens, writing, guard.base)
    middlewares = [answers.middleware, guard.middleware, Bodies(guard.base).middleware, uses.middleware]
    app = web.Application(middlewares=middlewares, client_max_size=LARGEST_BODY)
    said, searches = SaidFields(), Searches()
    app.add_routes([
        *LookingPages(service, drawing, said, searches).routes(guard.base),
        *Previews(service, drawing).routes(guard.base),
        *Forms(service, drawing, said, searches).routes(guard.base),
        *Door(drawing, guard).routes(),
    ])  # fmt: skip
    add_api(app, service, Idempotency(writing), guard.base)
    app.router.add_get(f"{guard.base}/static/{{name}}", _static)
    app.router.add_get(f"{guard.base}/livez", _live)
    if guard.base:
        app.router.add_get(guard.base, _to_base)
    return app


async def _static(request: web.Request) -> web.StreamResponse:
    """Only listed files, so that no name leads anywhere else."""
    found = {file.name: file for file in (FOLDER / "static").iterdir() if file.suffix in (".css", ".js", ".svg")}
    file = found.get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound(text="There is no such file.\n")
    return web.FileResponse(file, headers={**HEADERS, "Cache-Control": STATIC_CACHE})


async def _live(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _to_base(request: web.Request) -> web.StreamResponse:
    raise web.HTTPSeeOther(f"{request.path}/")


async def _listen(runner: web.AppRunner, address: ListenAddress, base: str, stack: AsyncExitStack) -> str:
    """Raises ConfigurationError if another process listens there, or the address is not ours."""
    try:
        if address.path:
            await web.SockSite(runner, _unix_socket(address.path)).start()
            stack.callback(Path(address.path).unlink, missing_ok=True)
            return f"unix:{address}"
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError as error:
        raise ConfigurationError(f"CONSOLE_LISTEN: cannot listen at {address}: {error.strerror or error}") from None
    host, port = runner.addresses[0][:2]
    return f"http://{ListenAddress(host, port)}{base}/"


def _unix_socket(path: str) -> socket.socket:
    """For its owner and group. A socket left by a killed console is replaced.

    Raises ConfigurationError if another process listens there, or another file is in the way; else OSError.
    """
    if Path(path).exists():
        if not Path(path).is_socket():
            raise ConfigurationError(f"CONSOLE_LISTEN: {path} exists already, and is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise ConfigurationError(f"CONSOLE_LISTEN: another process listens at {path}")
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    Path(path).chmod(0o660)  # before anyone can connect: it does not listen yet
    return listener


def make_token() -> str:
    return secrets.token_urlsafe(24)
