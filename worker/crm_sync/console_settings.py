"""The settings of the console."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from crm_sync.core.listen_address import ListenAddress
from crm_sync.setting_types import HostNames, Key, PostgresUrl, listed
from crm_sync.settings import SettingsModel

SHORTEST_TOKEN = 20  # characters: 120 bits in base64


def _listening(text: str) -> str:
    path = text.removeprefix("unix:")  # the form used by nginx and others
    text = path if path.startswith("/") else text
    ListenAddress.parse(text, free_port=True)  # raises ValueError
    return text


def _token(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < SHORTEST_TOKEN:
        raise ValueError(f"expected at least {SHORTEST_TOKEN} characters; `openssl rand -base64 24` makes one")
    return secret


def _path(text: str) -> str:
    if text and not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+/?", text):
        raise ValueError("expected a path such as /crm-sync")
    return text.rstrip("/")


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", text):
        raise ValueError("expected the name of a header, such as X-Forwarded-User")
    return text


def _networks(text: str) -> str:
    for network in listed(text):
        try:
            ip_network(network)
        except ValueError:
            raise ValueError("expected addresses or networks separated by commas: 10.0.0.5, 10.1.0.0/24") from None
    return text


class ConsoleSettings(SettingsModel):
    """Of `crm-sync console`."""

    console_listen: Annotated[str, AfterValidator(_listening)] = Field(
        "127.0.0.1:8080", description="where the console listens: 127.0.0.1:8080, or the path of a Unix socket"
    )
    console_token: Annotated[Key, AfterValidator(_token)] | None = Field(
        None, description="the token that opens the console; without it, one is made at each start and printed to a terminal"
    )
    console_tokens_file: Path | None = Field(
        None, description="TOML file of further tokens, each with its scopes, for the API and for read-only access"
    )
    console_base_path: Annotated[str, AfterValidator(_path)] = Field(
        "", description="the path under which a reverse proxy serves the console, such as /crm-sync"
    )
    console_hosts: HostNames = Field(
        "", description="comma-separated host names under which the console is reached, besides those of loopback"
    )
    console_user_header: Annotated[str, AfterValidator(_header)] | None = Field(
        None, description="the header in which a reverse proxy that authenticates people sends the user's name"
    )
    console_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "", description="comma-separated addresses of the proxies whose header is trusted; a Unix socket's always is"
    )
    console_database_url: PostgresUrl | None = Field(
        None, description="the same database, with the console's role; DATABASE_URL if not set"
    )

    @property
    def address(self) -> ListenAddress:
        return ListenAddress.parse(self.console_listen, free_port=True)
