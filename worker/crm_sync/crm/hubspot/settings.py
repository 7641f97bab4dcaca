"""The settings of HubSpot's account."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from crm_sync.core.mode import Mode
from crm_sync.setting_types import Key
from crm_sync.settings import SettingsModel


def _internal_name(text: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", text):
        raise ValueError(
            "expected email, or the internal name of a property, such as app_id: HubSpot shows it next to the label, as </>"
        )
    return text


def _contacts_path(text: str) -> str:
    if not re.fullmatch("(/[A-Za-z0-9._-]+)+", text):
        raise ValueError("expected a path that begins with a slash and ends without one, such as /crm/v3/objects/contacts")
    return text


InternalName = Annotated[str, AfterValidator(_internal_name)]
ContactsPath = Annotated[str, AfterValidator(_contacts_path)]


class HubSpotSettings(SettingsModel):
    hubspot_access_token: Key | None = Field(
        None, description="HubSpot's service key or private app token; if not set, nothing is sent to HubSpot"
    )
    hubspot_base_url: str = Field("https://api.hubapi.com", description="where HubSpot's API is")
    # /crm/v3 is supported until September 2027 [HubSpot, changelog on legacy APIs]; then /crm/objects/<date>/contacts.
    hubspot_contacts_path: ContactsPath = Field(
        "/crm/v3/objects/contacts",
        description=("path of the contacts in HubSpot's API, which names the version; v3 is supported until September 2027"),
    )
    hubspot_plan: Literal["free", "starter", "professional", "enterprise"] = Field(
        "starter",
        description=(
            "the account's plan: free or starter (100 requests in 10 s, 250,000 a day), professional (190, "
            "650,000) or enterprise (190, 1,000,000)"
        ),
    )
    hubspot_match: InternalName = Field(
        "email",
        description=(
            "what a contact without an id is matched by: email, or a property of unique values that the mapping sends, by which "
            "contacts without an address are known too"
        ),
    )
    hubspot_mode: Mode = Field(Mode.UPSERT, description="upsert, update (creates no contacts) or create (changes none)")
