"""The settings of n8n's webhook."""

from pydantic import Field, SecretStr

from crm_sync.settings import Password, SettingsModel


class N8nSettings(SettingsModel):
    n8n_webhook_url: str | None = Field(
        None, description="production URL of the webhook; without it and a secret n8n has no lane"
    )
    n8n_header_name: str | None = Field(None, description="the header of header authentication")
    n8n_header_value: SecretStr | None = Field(None, description="its value")
    n8n_username: str | None = Field(None, description="the user of basic authentication")
    n8n_password: Password | None = Field(None, description="the user's password")
    n8n_jwt_secret: Password | None = Field(None, description="the passphrase of JWT authentication (HS256)")
    n8n_signing_secret: Password | None = Field(None, description="signs every body, so that a workflow can check it")
