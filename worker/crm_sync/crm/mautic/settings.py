"""The settings of Mautic's account."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from crm_sync.core.mode import Mode
from crm_sync.setting_types import Password
from crm_sync.settings import SettingsModel


def _alias(text: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", text):
        raise ValueError("expected email, or the alias of a field as Mautic lists it under Custom Fields, such as app_id")
    return text


Alias = Annotated[str, AfterValidator(_alias)]


class MauticSettings(SettingsModel):
    mautic_base_url: str | None = Field(None, description="the URL of Mautic; nothing is sent to Mautic without it and a login")
    mautic_username: str | None = Field(None, description="a user of Mautic, for basic authentication")
    mautic_password: Password | None = Field(None, description="the user's password")
    mautic_client_id: str | None = Field(None, description="an OAuth2 client of Mautic, for client credentials")
    mautic_client_secret: Password | None = Field(None, description="the client's secret")
    mautic_match: Alias = Field(
        "email",
        description="what a contact without an id is matched by: email, or a unique identifier that the mapping sends, which a "
        "contact without an address needs",
    )
    mautic_mode: Mode = Field(Mode.UPSERT, description="upsert, update (creates no contacts) or create (changes none)")
