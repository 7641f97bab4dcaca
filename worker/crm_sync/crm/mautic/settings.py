"""The settings of Mautic's account."""

from pydantic import Field, SecretStr

from crm_sync.settings import SettingsModel


class MauticSettings(SettingsModel):
    mautic_base_url: str | None = Field(None, description="where Mautic is; without it Mautic has no lane")
    mautic_username: str | None = Field(None, description="a Mautic user, for basic authentication")
    mautic_password: SecretStr | None = Field(None, description="the user's password")
    mautic_client_id: str | None = Field(None, description="an OAuth2 client of Mautic, for client credentials")
    mautic_client_secret: SecretStr | None = Field(None, description="the client's secret")
