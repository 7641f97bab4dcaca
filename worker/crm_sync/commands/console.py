"""crm-sync console: web pages on which people look at contacts and CRMs, and fix problems."""

import asyncio
import signal
import sys

import click

from crm_sync.configuration import load
from crm_sync.console_settings import ConsoleSettings
from crm_sync.core.extras import installs
from crm_sync.core.listen_address import EXPECTED
from crm_sync.errors import ConfigurationError


@click.command()
@click.option("--listen", metavar="ADDRESS", help="An address and a port, or the path of a Unix socket.")
def console(*, listen: str | None) -> None:
    """Serves the console: find a contact, read why it is or is not in each CRM, and put things right.

    In a terminal, it prints a link that signs in. Elsewhere it needs CONSOLE_TOKEN, or a Unix socket.

    \b
    Example:
      crm-sync console --listen 127.0.0.1:8080
    """
    try:
        from crm_sync.console.server import make_token, running_console  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the console needs {error.name}, which is not installed: {installs('console')}") from error
    configuration = load()
    settings = configuration.environment.read(ConsoleSettings)
    if listen is not None:
        try:
            settings = ConsoleSettings(**{**settings.model_dump(exclude_unset=True), "console_listen": listen})
        except ValueError as error:
            raise click.BadParameter(EXPECTED, param_hint="--listen") from error
    closed = settings.console_token is None and settings.console_tokens_file is None and settings.console_user_header is None
    by_terminal = closed and not settings.address.path and sys.stdout.isatty()
    token = make_token() if by_terminal else None

    async def serve() -> None:
        async with running_console(configuration, settings, made_token=token) as where:
            if token is None:
                click.echo(f"The console listens at {where}")
            else:
                click.echo(f"The console: {where}login?token={token}\nThe link is valid for this start only. Ctrl-C ends it.")
            await _until_stopped()

    asyncio.run(serve())


async def _until_stopped() -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
