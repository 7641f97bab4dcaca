"""All settings. The only reader of the environment, of .env, and of systemd's credentials."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from crm_sync.core.rate import parse
from crm_sync.core.retry import RetryPolicy
from crm_sync.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseSettings)


def _postgres_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    # SQLAlchemy writes the driver into the scheme: postgresql+asyncpg://
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("expected a URL such as postgresql://user@host:5432/database")
    return f"postgresql://{rest}"


PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]


def _limits(text: str) -> str:
    parse(text)  # raises ValueError
    return text


Limits = Annotated[str, AfterValidator(_limits)]


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_file=".env", hide_input_in_errors=True
    )


class Settings(_Settings):
    """What the worker as a whole needs."""

    database_url: PostgresUrl = Field(description="the database with the contacts table")
    listen_database_url: PostgresUrl | None = Field(
        None,
        description="a direct connection to the same database, where DATABASE_URL goes through a transaction pooler",
    )
    database_behind_pooler: bool = Field(default=False, description="DATABASE_URL goes through a transaction pooler (pgbouncer)")
    contacts_table: str | None = Field(
        None, description="the table to adopt, such as crm.people; later a worker that finds another one adopted does not start"
    )
    contacts_key: str | None = Field(None, description="its column that finds a row alone; the primary key without it")
    contacts_email: str | None = Field(None, description="its column with the address; email without it")
    mapping_file: Path | None = Field(None, description="TOML file of what is sent to each CRM; built-in defaults without it")
    shutdown_grace_s: float = Field(
        20.0,
        ge=0,
        le=600,
        description="seconds that requests under way get to end when the worker is stopped",
    )

    @property
    def session_url(self) -> str:
        return self.listen_database_url or self.database_url


class LaneSettings(_Settings):
    """The same for each CRM; the names begin with the CRM's, in capitals: BREVO_SYNC_MAX_RETRIES."""

    sync_scheduler_interval_minutes: float = Field(
        15.0,
        gt=0,
        le=1440,
        description="minutes between two full looks at the table, for flips that no trigger saw",
    )
    sync_scheduler_batch_size: int = Field(100, ge=1, le=5000, description="contacts claimed at once, at most")
    sync_max_retries: int = Field(3, ge=0, le=100, description="retries of a contact after its first attempt")
    sync_retry_delay_minutes: float = Field(
        5.0, gt=0, le=1440, description="minutes before the first retry, doubled for each further one"
    )
    limits: Limits | None = Field(
        None, description="requests of the whole account, over all workers: 100/10s 250000/day, or none; the vendor's without it"
    )
    concurrency: int | None = Field(None, ge=1, le=500, description="requests at a time, of all workers together, at most")
    batch_size: int | None = Field(None, ge=1, le=500, description="contacts in one request, where the CRM takes as many")

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(self.sync_max_retries, self.sync_retry_delay_minutes * 60)


class TransportSettings(_Settings):
    """How CRMs may be reached."""

    http_allowed_hosts: str = Field(
        "", description="hosts that may be spoken to in plain http beside loopback, with commas between them"
    )

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(host.strip().lower() for host in self.http_allowed_hosts.split(",") if host.strip())


class HubSpotSettings(_Settings):
    hubspot_access_token: SecretStr | None = Field(
        None, description="HubSpot's service key or private app token; without it HubSpot has no lane"
    )
    hubspot_base_url: str = Field("https://api.hubapi.com", description="where HubSpot's API is")
    # /crm/v3 is supported until September 2027 [HubSpot, changelog on legacy APIs]; then /crm/objects/<date>/contacts.
    hubspot_contacts_path: str = Field(
        "/crm/v3/objects/contacts", pattern="^(/[A-Za-z0-9._-]+)+$", description="path of the contacts in HubSpot's API"
    )
    hubspot_plan: Literal["free", "starter", "professional", "enterprise"] = Field(
        "starter", description="the account's plan, which its limits depend on: free, starter, professional or enterprise"
    )


class MauticSettings(_Settings):
    mautic_base_url: str | None = Field(None, description="where Mautic is; without it Mautic has no lane")
    mautic_username: str | None = Field(None, description="a Mautic user, for basic authentication")
    mautic_password: SecretStr | None = Field(None, description="the user's password")
    mautic_client_id: str | None = Field(None, description="an OAuth2 client of Mautic, for client credentials")
    mautic_client_secret: SecretStr | None = Field(None, description="the client's secret")


class N8nSettings(_Settings):
    n8n_webhook_url: str | None = Field(None, description="production URL of the webhook; without it n8n has no lane")
    n8n_header_name: str | None = Field(None, description="the header of header authentication")
    n8n_header_value: SecretStr | None = Field(None, description="its value")
    n8n_username: str | None = Field(None, description="the user of basic authentication")
    n8n_password: SecretStr | None = Field(None, description="the user's password")
    n8n_jwt_secret: SecretStr | None = Field(None, description="the passphrase of JWT authentication (HS256)")
    n8n_signing_secret: SecretStr | None = Field(None, description="signs every body, so that a workflow can check it")


class BrevoSettings(_Settings):
    brevo_api_key: SecretStr | None = Field(None, description="Brevo's API key; without it Brevo has no lane")
    brevo_list_id: int | None = Field(None, ge=1, description="the list in Brevo that delivered contacts are put on")
    brevo_base_url: str = Field("https://api.brevo.com/v3", description="where Brevo's API is")
    brevo_plan: Literal["general", "advanced", "extended"] = Field(
        "general", description="the account's plan, which its limits depend on: general, advanced or extended"
    )


def read(model: type[Model]) -> Model:
    """Reads one model. Raises ConfigurationError with the names of what is wrong and what is expected, never with a value."""
    return _read(lambda folder: model(_secrets_dir=folder))


def read_lane(crm: str) -> LaneSettings:
    """Reads the settings of one CRM's lane. Raises as read does."""
    prefix = f"{crm.upper()}_"
    return _read(lambda folder: LaneSettings(_env_prefix=prefix, _secrets_dir=folder), prefix)


def _read(build: Callable[[str | None], Model], prefix: str = "") -> Model:
    # systemd's LoadCredential puts one file for each key there.
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        return build(credentials if credentials and Path(credentials).is_dir() else None)
    except OSError as error:
        raise ConfigurationError(f".env or a credential cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = [
            f"{prefix}{'.'.join(map(str, problem['loc'])).upper()}: {_expected(problem['type'], problem['msg'])}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise ConfigurationError("; ".join(problems)) from None


def _expected(kind: str, message: str) -> str:
    if kind == "missing":
        return "not set; it is required"
    return message.removeprefix("Value error, ")
