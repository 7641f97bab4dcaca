"""The settings of HubSpot's account."""

from typing import Literal

from pydantic import Field

from crm_sync.core.mode import Mode
from crm_sync.settings import Key, SettingsModel


class HubSpotSettings(SettingsModel):
    hubspot_access_token: Key | None = Field(
        None, description="HubSpot's service key or private app token; if not set, nothing is sent to HubSpot"
    )
    hubspot_base_url: str = Field("https://api.hubapi.com", description="where HubSpot's API is")
    # /crm/v3 is supported until September 2027 [HubSpot, changelog on legacy APIs]; then /crm/objects/<date>/contacts.
    hubspot_contacts_path: str = Field(
        "/crm/v3/objects/contacts",
        pattern="^(/[A-Za-z0-9._-]+)+$",
        description=("path of the contacts in HubSpot's API, which names the version; v3 is supported until September 2027"),
    )
    hubspot_plan: Literal["free", "starter", "professional", "enterprise"] = Field(
        "starter",
        description=(
            "the account's plan: free or starter (100 requests in 10 s, 250,000 a day), professional (190, "
            "650,000) or enterprise (190, 1,000,000)"
        ),
    )
    hubspot_match: str = Field(
        "email",
        pattern="^[a-z][a-z0-9_]*$",
        description="what a contact without an id is matched by: email, or a property of unique values that the mapping sends",
    )
    hubspot_mode: Mode = Field(Mode.UPSERT, description="upsert, update (creates no contacts) or create (changes none)")
