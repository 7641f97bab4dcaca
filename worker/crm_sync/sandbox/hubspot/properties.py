"""The properties of a fake HubSpot account, as `GET /crm/v3/properties/contacts` shows them [HubSpot, CRM properties]."""

from typing import Any

from crm_sync.sandbox.hubspot.account import READ_ONLY, STRING, HubSpotAccount
from crm_sync.sandbox.hubspot.values import Property

# How each type is shown to people; if HubSpot has several field types for it, the first.
_SHOWN_AS = {"string": "text", "bool": "booleancheckbox", "enumeration": "select"}


def properties(account: HubSpotAccount) -> dict[str, Any]:
    """Those that can be set and those that cannot, by name."""
    shown = [_property(name, account.types.get(name, STRING), read_only=False) for name in sorted(account.writable)]
    shown += [_property(name, STRING, read_only=True) for name in READ_ONLY]
    return {"results": shown}


def _property(name: str, kind: Property, *, read_only: bool) -> dict[str, Any]:
    options = ("true", "false") if kind.type == "bool" else kind.options
    return {
        "name": name,
        "label": name.capitalize(),
        "description": "",
        "groupName": "contactinformation",
        "type": kind.type,
        "fieldType": _SHOWN_AS.get(kind.type, kind.type),
        "options": [
            {"label": option.capitalize(), "value": option, "description": "", "displayOrder": number, "hidden": False}
            for number, option in enumerate(options)
        ],
        "displayOrder": -1,
        "hasUniqueValue": kind.is_unique,
        "hidden": False,
        "formField": not read_only,
        "calculated": False,
        "externalOptions": name == "hubspot_owner_id",
        "hubspotDefined": True,
        "archived": False,
        "modificationMetadata": {"archivable": False, "readOnlyDefinition": True, "readOnlyValue": read_only},
    }
