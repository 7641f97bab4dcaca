"""The settings of Brevo's account."""

from typing import Literal

from pydantic import Field

from crm_sync.core.mode import Mode
from crm_sync.settings import Key, SettingsModel


class BrevoSettings(SettingsModel):
    brevo_api_key: Key | None = Field(None, description="Brevo's API key; without it Brevo has no lane")
    brevo_list_id: int | None = Field(None, ge=1, description="the list in Brevo that delivered contacts are put on")
    brevo_base_url: str = Field("https://api.brevo.com/v3", description="where Brevo's API is")
    brevo_plan: Literal["general", "advanced", "extended"] = Field(
        "general", description="the account's plan, which its limits depend on: general, advanced or extended"
    )
    brevo_match: Literal["email", "ext_id"] = Field(
        "email", description="what a contact without an id is looked for by: email, or ext_id, which the mapping sends as EXT_ID"
    )
    brevo_mode: Mode = Field(Mode.UPSERT, description="upsert, update (makes no contacts) or create (changes none)")
