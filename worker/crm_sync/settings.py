"""All settings except those of each CRM's account, which are next to its client. `crm_sync.environment` reads them."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from crm_sync.core.connection_string import ConnectionString
from crm_sync.core.history import LONGEST_DAYS, SHORTEST_DAYS, History
from crm_sync.core.listen_address import ListenAddress
from crm_sync.core.retry import RetryPolicy
from crm_sync.setting_types import (
    CommandLine,
    HostNames,
    Hosts,
    Key,
    Limits,
    ListenText,
    Password,
    PostgresUrl,
    SchemaNames,
    host_and_port,
    listed,
    schemas,
)

# Authors of plug-ins take the types of their settings from here too.
__all__ = [
    "SHARED",
    "AlertSettings",
    "Key",
    "LaneSettings",
    "Password",
    "ProxySettings",
    "Settings",
    "SettingsModel",
    "TraceSettings",
    "TransportSettings",
]


class SettingsModel(BaseModel):
    """Settings that belong together. They are named after the fields, in capitals. Whitespace around a value is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Settings(SettingsModel):
    """What the worker as a whole needs."""

    database_url: PostgresUrl = Field(
        description="the database with the contacts table, as libpq takes it: a URL, or host=... user=... dbname=...",
        examples=["postgresql://user@host/database"],
    )
    listen_database_url: PostgresUrl | None = Field(
        None,
        description="a direct connection to the same database, if DATABASE_URL goes through a transaction pooler",
    )
    database_behind_pooler: bool = Field(
        default=False, description="whether DATABASE_URL goes through a transaction pooler (pgbouncer)"
    )
    contacts_table: str | None = Field(
        None,
        description=(
            "the table to adopt, such as crm.people; contacts if not set. A worker that finds another table "
            "adopted does not start"
        ),
    )
    contacts_key: str | None = Field(None, description="the column that identifies a row; the primary key if not set")
    contacts_email: str | None = Field(None, description="the column with the email address; email if not set")
    mapping_file: Path | None = Field(
        None, description="TOML file that says what is sent to each CRM; built-in defaults if not set"
    )
    mapping_search_path: SchemaNames = Field(
        "",
        description="comma-separated schemas where the expressions of the mapping find functions, types and operators",
    )
    history: History = Field(
        History.ALL, description="which outcomes history keeps: all, failures (not delivered, or not completely) or off"
    )
    history_days: int = Field(14, ge=SHORTEST_DAYS, le=LONGEST_DAYS, description="days that history is kept")
    shutdown_grace_s: float = Field(
        20.0,
        ge=0,
        le=600,
        description="seconds that requests in flight have to finish when the worker is stopped",
    )
    metrics_listen: ListenText | None = Field(
        None, description="where a worker serves metrics: 127.0.0.1:9464, or the path of a Unix socket; nowhere if not set"
    )
    metrics_hosts: HostNames = Field(
        "",
        description=(
            "comma-separated host names by which METRICS_LISTEN may be asked, besides addresses, localhost and, unless it is on "
            "loopback, names of a private network"
        ),
    )
    # Applications that share the environment may set debug, which does not exist here.
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = Field(
        "info", description="the least severe level that is logged: info, warning or error"
    )

    @property
    def session_url(self) -> str:
        return self.listen_database_url or self.database_url

    @property
    def metrics_address(self) -> ListenAddress | None:
        return None if self.metrics_listen is None else ListenAddress.parse(self.metrics_listen)

    @property
    def log_number(self) -> int:
        """LOG_LEVEL as a number of `logging`."""
        return logging.getLevelNamesMapping()[self.log_level.upper()]

    @property
    def mapping_path(self) -> tuple[str, ...]:
        return schemas(self.mapping_search_path)

    @property
    def behind_pooler(self) -> bool:
        """Prisma puts this into the URL."""
        if "database_behind_pooler" in self.model_fields_set:
            return self.database_behind_pooler
        return ConnectionString.parse(self.database_url).behind_pooler


class LaneSettings(SettingsModel):
    """The same for each CRM; the names begin with the CRM's, in capitals: BREVO_SYNC_MAX_RETRIES."""

    sync_scheduler_interval_minutes: float = Field(
        15.0,
        gt=0,
        le=1440,
        description="minutes between two full looks at the table, which find flips that no trigger saw",
    )
    sync_scheduler_batch_size: int = Field(100, ge=1, le=5000, description="contacts claimed in one statement")
    sync_max_retries: int = Field(3, ge=0, le=100, description="retries of a contact after its first attempt")
    sync_retry_delay_minutes: float = Field(
        5.0, gt=0, le=1440, description="minutes before the first retry; doubled for each further one, give or take a quarter"
    )
    limits: Limits | None = Field(
        None,
        description=(
            "requests of the whole account, over all workers: 100/10s 250000/day, or none; those of the plan if "
            "not set. Mautic and n8n have none"
        ),
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        le=500,
        description="requests at a time, of all workers together; if not set, HubSpot 4, Brevo 16, Mautic 8, n8n 16",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=500,
        description=(
            "contacts in one request, up to what the CRM takes; n8n: 1, which sends a contact as the body, more send a list"
        ),
    )
    empty: Literal["keep", "clear"] = Field(
        "keep", description="what happens to a field that becomes empty in the row: keep what the CRM has, or clear it"
    )

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(self.sync_max_retries, self.sync_retry_delay_minutes * 60)


class TransportSettings(SettingsModel):
    """How CRMs may be reached."""

    http_allowed_hosts: Hosts = Field(
        "",
        description="comma-separated hosts, besides loopback, that may be called without TLS: n8n, n8n:5678, [fd00::1]. No URLs",
    )

    def hosts(self, port: int) -> frozenset[str]:
        """Hosts that may be reached on this port."""
        allowed = map(host_and_port, listed(self.http_allowed_hosts))
        return frozenset(host for host, only in allowed if only in (None, port))


class AlertSettings(SettingsModel):
    """Who is told when something is wrong."""

    alert_webhook_url: Key | None = Field(None, description="where alerts are sent by HTTP POST")
    alert_webhook_secret: Password | None = Field(None, description="signs the bodies of alerts, as N8N_SIGNING_SECRET does")
    alert_webhook_format: Literal["json", "slack"] = Field(
        "json", description='json, or slack for services that take {"text": "..."}'
    )
    alert_ping_url: Key | None = Field(
        None,
        description=(
            "a dead man's switch, requested every minute while a worker lives; with /fail appended while an alert is open"
        ),
    )
    alert_command: CommandLine | None = Field(
        None, description="a program that gets each alert as JSON on standard input; run without a shell, for 10 s at most"
    )


class TraceSettings(SettingsModel):
    """Where traces are sent. The names are OpenTelemetry's."""

    otel_exporter_otlp_endpoint: str | None = Field(None, description="the collector that traces are sent to, as OTLP over HTTP")
    otel_exporter_otlp_headers: Password | None = Field(
        None, description="comma-separated headers for the collector, such as its key: name=value"
    )
    otel_service_name: str = Field("crm-sync", description="the name of the worker in traces")


class ProxySettings(SettingsModel):
    """The proxies through which CRMs are reached. The names are those that other programs use too."""

    https_proxy: SecretStr | None = Field(
        None, description="the HTTP proxy to CRMs with https, such as http://user:password@proxy.example.com:3128"
    )
    http_proxy: SecretStr | None = Field(None, description="the HTTP proxy to CRMs with plain http")
    all_proxy: SecretStr | None = Field(None, description="the HTTP proxy if neither of the two is set")
    no_proxy: str = Field(
        "", description="comma-separated hosts and networks that are reached directly: n8n, .example.com, 10.0.0.0/8; * for all"
    )


# Settings that all lanes share.
SHARED: tuple[type[SettingsModel], ...] = (Settings, TransportSettings, ProxySettings, AlertSettings, TraceSettings)
