"""The settings of n8n's webhook."""

from pydantic import Field, SecretStr

from crm_sync.setting_types import Password
from crm_sync.settings import SettingsModel


class N8nSettings(SettingsModel):
    n8n_webhook_url: str | None = Field(
        None, description="the production URL of the webhook; nothing is sent to n8n without it and one of the logins below"
    )
    n8n_header_name: str | None = Field(None, description="header authentication: the name of the header")
    n8n_header_value: SecretStr | None = Field(None, description="header authentication: its value")
    n8n_username: str | None = Field(None, description="basic authentication: the user")
    n8n_password: Password | None = Field(None, description="basic authentication: the password")
    n8n_jwt_secret: Password | None = Field(None, description="JWT authentication: the passphrase (HS256, 32 bytes or more)")
    n8n_signing_secret: Password | None = Field(None, description="signs every body, so that the workflow can check it")
