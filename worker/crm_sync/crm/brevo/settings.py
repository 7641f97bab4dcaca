"""The settings of Brevo's account."""

from typing import Literal

from pydantic import Field

from crm_sync.core.mode import Mode
from crm_sync.setting_types import Key
from crm_sync.settings import SettingsModel


class BrevoSettings(SettingsModel):
    brevo_api_key: Key | None = Field(None, description="Brevo's API key; if not set, nothing is sent to Brevo")
    brevo_list_id: int | None = Field(None, ge=1, description="the list in Brevo that delivered contacts are added to")
    brevo_base_url: str = Field("https://api.brevo.com/v3", description="where Brevo's API is")
    brevo_plan: Literal["general", "advanced", "extended"] = Field(
        "general",
        description=(
            "the account's plan: general (10 requests a second, 36,000 an hour), advanced (20, 72,000) or extended (60, 216,000)"
        ),
    )
    brevo_match: Literal["email", "ext_id"] = Field(
        "email", description="what a contact without an id is looked up by: email, or ext_id, which the mapping sends as EXT_ID"
    )
    brevo_phone_only: bool = Field(
        default=False,
        description=(
            "also send contacts that have a phone number (SMS in the mapping) and no address: Brevo knows them by the number, so "
            "those with the same number are one contact there"
        ),
    )
    brevo_mode: Mode = Field(Mode.UPSERT, description="upsert, update (creates no contacts) or create (changes none)")
