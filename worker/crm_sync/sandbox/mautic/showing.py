"""How the API of a fake Mautic shows contacts and fields."""

from collections.abc import Mapping
from typing import Any

from crm_sync.sandbox.mautic.account import Contact, MauticAccount


def shown_fields(account: MauticAccount) -> list[dict[str, Any]]:
    """As the API shows them [LeadField, loadApiMetadata]."""
    return [
        {
            "isPublished": alias not in account.unpublished,
            "id": number,
            "label": alias.capitalize(),
            "alias": alias,
            "type": kind,
            "group": "core",
            "order": number,
            "object": "lead",
            "defaultValue": None,
            "isRequired": False,
            "isPubliclyUpdatable": False,
            "isUniqueIdentifier": alias in account.identifiers,
            "properties": {"list": [{"label": one.capitalize(), "value": one} for one in account.options.get(alias, ())]},
        }
        for number, (alias, kind) in enumerate(account.fields.items(), 1)
    ]


def details(contact: Contact, fields: Mapping[str, str]) -> dict[str, Any]:
    """A record as the API shows it."""
    core = {
        alias: {
            "id": str(number),
            "label": alias.capitalize(),
            "alias": alias,
            "type": kind,
            "group": "core",
            "value": contact.values.get(alias),
            "normalizedValue": contact.values.get(alias),
        }
        for number, (alias, kind) in enumerate(fields.items(), 1)
    }
    values = {alias: contact.values.get(alias) for alias in fields}
    return {
        "isPublished": True,
        "dateAdded": contact.added.isoformat(timespec="seconds"),
        "id": contact.id,
        "points": int(contact.values.get("points") or 0),
        "color": None,
        "fields": {"core": core, "social": [], "personal": [], "professional": [], "all": {"id": contact.id, **values}},
        "owner": None,
        "ipAddresses": [],
        "tags": [{"id": number, "tag": tag} for number, tag in enumerate(sorted(contact.tags), 1)],
        "stage": None,
        "doNotContact": [
            {"id": number, "reason": reason, "comments": "", "channel": channel, "channelId": None}
            for number, (channel, reason) in enumerate(contact.closed.items(), 1)
        ],
    }
