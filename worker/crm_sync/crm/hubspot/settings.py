"""The settings of HubSpot's account."""

from typing import Literal

from pydantic import Field

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
        description=(
            "path of the contacts in HubSpot's API; v3 is supported until September 2027, then /crm/objects/2026-09/contacts"
        ),
    )
    hubspot_plan: Literal["free", "starter", "professional", "enterprise"] = Field(
        "starter",
        description=(
            "the account's plan: free or starter (100 requests in 10 s, 250,000 a day), professional (190, "
            "650,000) or enterprise (190, 1,000,000)"
        ),
    )
