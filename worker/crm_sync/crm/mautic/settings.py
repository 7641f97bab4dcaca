"""The settings of Mautic's account."""

from pydantic import Field

from crm_sync.core.mode import Mode
from crm_sync.settings import Password, SettingsModel


class MauticSettings(SettingsModel):
    mautic_base_url: str | None = Field(None, description="the URL of Mautic; nothing is sent to Mautic without it and a login")
    mautic_username: str | None = Field(None, description="a user of Mautic, for basic authentication")
    mautic_password: Password | None = Field(None, description="the user's password")
    mautic_client_id: str | None = Field(None, description="an OAuth2 client of Mautic, for client credentials")
    mautic_client_secret: Password | None = Field(None, description="the client's secret")
    mautic_match: str = Field(
        "email",
        pattern="^[a-z][a-z0-9_]*$",
        description="what a contact without an id is matched by: email, or a unique identifier that the mapping sends",
    )
    mautic_mode: Mode = Field(Mode.UPSERT, description="upsert, update (creates no contacts) or create (changes none)")
