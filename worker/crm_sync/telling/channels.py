"""Channels for alerts: a webhook, a command, and a dead man's switch that is pinged while all is well.

A failing channel raises ChannelError, and nothing waits for it longer than PATIENCE_S. The URLs of webhooks and pings are
secrets, because anyone who has one can send messages. So they never appear in an error.
"""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from crm_sync.core.text import clean
from crm_sync.crm.account import require_reachable
from crm_sync.crm.http import Http
from crm_sync.crm.n8n.login import signature
from crm_sync.crm.proxy import proxy_for
from crm_sync.environment import Environment
from crm_sync.errors import ChannelError, ConfigurationError, CrmSyncError
from crm_sync.settings import AlertSettings, ProxySettings, TransportSettings

PATIENCE_S = 10.0
LONGEST_SAID = 200
# What a program needs to run, without our settings, which include keys.
HANDED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")


class Channel(Protocol):
    name: str

    async def tell(self, body: Mapping[str, Any]) -> None:
        """Raises ChannelError."""


@dataclass(frozen=True, slots=True)
class Channels:
    """The configured ones. ping: the dead man's switch, or None."""

    told: tuple[Channel, ...] = ()
    ping: "Ping | None" = None

    @property
    def names(self) -> list[str]:
        return [channel.name for channel in self.told]

    @classmethod
    @asynccontextmanager
    async def opened(cls, environment: Environment) -> AsyncIterator["Channels"]:
        """Raises ConfigurationError that names a wrong setting."""
        settings = require_channels(environment)
        async with AsyncExitStack() as stack:
            told: list[Channel] = []
            ping = None
            if settings.alert_webhook_url is not None:
                http, target = await _http(stack, environment, "ALERT_WEBHOOK_URL", settings.alert_webhook_url)
                told.append(Webhook(http, target, settings.alert_webhook_secret, settings.alert_webhook_format))
            if settings.alert_command is not None:
                told.append(Command(shlex.split(settings.alert_command)))
            if settings.alert_ping_url is not None:
                ping = Ping(*await _http(stack, environment, "ALERT_PING_URL", settings.alert_ping_url))
            yield cls(tuple(told), ping)


def require_channels(environment: Environment) -> AlertSettings:
    """Checks the settings before anything is opened. Raises ConfigurationError that says what is wrong."""
    settings = environment.read(AlertSettings)
    for name, url in (("ALERT_WEBHOOK_URL", settings.alert_webhook_url), ("ALERT_PING_URL", settings.alert_ping_url)):
        if url is not None:
            origin, _ = _parts(name, url)
            require_reachable(name, origin, environment.read(TransportSettings))
            proxy_for(origin, environment.read(ProxySettings))
    if settings.alert_webhook_url is None and (
        half := settings.model_fields_set & {"alert_webhook_secret", "alert_webhook_format"}
    ):
        named = ", ".join(name.upper() for name in sorted(half))
        raise ConfigurationError(f"ALERT_WEBHOOK_URL: not set, but {named} is: set both, or neither")
    return settings


class Webhook:
    """An HTTP POST. secret: signs the body, like bodies for n8n."""

    name = "webhook"

    def __init__(self, http: Http, target: str, secret: SecretStr | None, form: str) -> None:
        self._http = http
        self._target = target
        self._secret = secret
        self._form = form
        if secret is not None:
            http.hide(secret.get_secret_value())

    async def tell(self, body: Mapping[str, Any]) -> None:
        sent = {"text": _escaped(body["text"])} if self._form == "slack" else body
        payload = json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": body["id"]}
        if self._secret is not None:
            headers["X-Crm-Sync-Signature"] = signature(payload, self._secret.get_secret_value())
        await _require_success(self._http, "POST", self._target, payload, headers)


class Ping:
    """A GET as healthchecks.io expects it: the URL while all is well, with /fail appended to its path while an alert is open."""

    name = "ping"

    def __init__(self, http: Http, target: str) -> None:
        path, mark, query = target.partition("?")
        self._http = http
        self._well = target
        self._failing = f"{path.rstrip('/')}/fail{mark}{query}"

    async def ping(self, *, well: bool) -> None:
        """Raises ChannelError."""
        await _require_success(self._http, "GET", self._well if well else self._failing)


class Command:
    """A program that gets the message as JSON on its standard input. Its output is discarded, because it may contain anything."""

    name = "command"

    def __init__(self, arguments: list[str], *, patience_s: float = PATIENCE_S) -> None:
        self._arguments = arguments
        self._patience_s = patience_s

    async def tell(self, body: Mapping[str, Any]) -> None:
        environment = {name: value for name, value in os.environ.items() if name in HANDED_ON or name.startswith("LC_")}
        nowhere = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=nowhere,
                stderr=nowhere,
                start_new_session=True,
            )
        except OSError as error:
            raise ChannelError(f"ALERT_COMMAND cannot be started: {clean(error.strerror or type(error).__name__)}") from error
        try:
            async with asyncio.timeout(self._patience_s):
                # A program that does not read its input may still succeed.
                with suppress(BrokenPipeError, ConnectionResetError):
                    await process.communicate(json.dumps(body).encode())
                status = await process.wait()
        except (TimeoutError, asyncio.CancelledError) as error:
            # Including the processes it started.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise ChannelError(f"ALERT_COMMAND took longer than {self._patience_s:g} s, and was killed") from error
        if status != 0:
            raise ChannelError(f"ALERT_COMMAND ended with status {status}")


async def _http(stack: AsyncExitStack, environment: Environment, setting: str, url: SecretStr) -> tuple[Http, str]:
    origin, target = _parts(setting, url)
    proxy = proxy_for(origin, environment.read(ProxySettings))
    http = await stack.enter_async_context(Http(origin, {}, proxy=proxy, timeout_s=PATIENCE_S))
    http.hide(target, target[1:], *target.strip("/").split("/"))
    return http, target


def _parts(setting: str, url: SecretStr) -> tuple[str, str]:
    """The part before the path, and the path with its query."""
    try:
        parts = urlsplit(url.get_secret_value())
    except ValueError:
        raise ConfigurationError(f"{setting}: expected a URL such as https://alerts.example.com/hook") from None
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return f"{parts.scheme}://{parts.netloc}", target


async def _require_success(
    http: Http, method: str, target: str, payload: bytes | None = None, headers: Mapping[str, str] | None = None
) -> None:
    """Raises ChannelError."""
    try:
        answer = await http.send(method, target, payload, headers=headers)
    except CrmSyncError as error:
        raise ChannelError(clean(str(error))) from error
    if not 200 <= answer.status < 300:
        raise ChannelError(f"it answered {answer.status}: {clean(answer.text[:LONGEST_SAID]) or 'no text'}")


def _escaped(text: str) -> str:
    """As Slack requires, so that nothing in the text becomes a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
