"""The CRMs this worker supports: four built-in ones, and those that other packages register by an entry point.

[project.entry-points."crm_sync.crms"]
pipedrive = "my_package.pipedrive:crm"
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from crm_sync.crm.account import Account
from crm_sync.crm.brevo import client as brevo
from crm_sync.crm.brevo.settings import BrevoSettings
from crm_sync.crm.hubspot import client as hubspot
from crm_sync.crm.hubspot.settings import HubSpotSettings
from crm_sync.crm.mautic import client as mautic
from crm_sync.crm.mautic.settings import MauticSettings
from crm_sync.crm.n8n import client as n8n
from crm_sync.crm.n8n.settings import N8nSettings
from crm_sync.errors import ConfigurationError
from crm_sync.settings import SettingsModel

GROUP = "crm_sync.crms"


@dataclass(frozen=True, slots=True)
class Crm:
    """A CRM that this worker supports.

    read_account: reads its settings; None if it has no credentials, so no lane. Raises ConfigurationError that names a wrong one.
    default_fields and settings: known without credentials. Without settings, no name with its prefix is reported as unknown.
    asked: settings that `crm-sync init` asks for; the others have a default, or are rarely needed.
    """

    name: str
    read_account: Callable[[], Account | None]
    default_fields: Mapping[str, str] | None = None
    settings: type[SettingsModel] | None = None
    asked: Sequence[str] = ()


# If none is asked for by name, these are installed, in this order.
OWN: Mapping[str, Crm] = {
    crm.name: crm
    for crm in (
        Crm("hubspot", hubspot.account, hubspot.DEFAULT_FIELDS, HubSpotSettings, ("hubspot_access_token",)),
        Crm("brevo", brevo.account, brevo.DEFAULT_FIELDS, BrevoSettings, ("brevo_api_key",)),
        Crm(
            "mautic",
            mautic.account,
            mautic.DEFAULT_FIELDS,
            MauticSettings,
            ("mautic_base_url", "mautic_username", "mautic_password"),
        ),
        Crm("n8n", n8n.account, n8n.DEFAULT_FIELDS, N8nSettings, ("n8n_webhook_url", "n8n_header_name", "n8n_header_value")),
    )
}


@cache
def known() -> Mapping[str, Crm]:
    """By the CRM's name. A broken package is reported when its account is read; other CRMs are not affected."""
    crms = dict(OWN)
    for entry in entry_points(group=GROUP):
        if entry.name in crms:
            crms[entry.name] = _unusable(
                entry.name, f"two packages register the CRM {entry.name}, the second is {entry.value}: remove one"
            )
        else:
            crms[entry.name] = _load(entry)
    return crms


def _load(entry: EntryPoint) -> Crm:
    try:
        registered = entry.load()
    except Exception as error:  # noqa: BLE001 (a package of somebody else's: it can fail in any way)
        reason = f"{type(error).__name__}: {error}"
        return _unusable(entry.name, f"the CRM {entry.name} ({entry.value}) cannot be loaded: {reason}")
    if isinstance(registered, Crm):
        return replace(registered, name=entry.name)
    if callable(registered):
        return Crm(entry.name, registered)
    return _unusable(entry.name, f"the CRM {entry.name}: {entry.value} is neither a Crm nor a function that reads an account")


def _unusable(name: str, reason: str) -> Crm:
    def refuse() -> Account | None:
        raise ConfigurationError(reason)

    return Crm(name, refuse)
