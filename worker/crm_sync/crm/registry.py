"""Which CRMs this worker can talk to: four of its own, and what other packages register by an entry point.

[project.entry-points."crm_sync.crms"]
pipedrive = "my_package.pipedrive:account"
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from crm_sync.crm.account import Account
from crm_sync.crm.brevo import client as brevo
from crm_sync.crm.hubspot import client as hubspot
from crm_sync.crm.mautic import client as mautic
from crm_sync.crm.n8n import client as n8n
from crm_sync.errors import ConfigurationError

GROUP = "crm_sync.crms"

# Reads the settings of a CRM. None: it has no credentials, so no lane.
ReadAccount = Callable[[], Account | None]

OWN: Mapping[str, ReadAccount] = {
    "hubspot": hubspot.account,
    "brevo": brevo.account,
    "mautic": mautic.account,
    "n8n": n8n.account,
}


@cache
def known() -> Mapping[str, ReadAccount]:
    """By the CRM's name. Raises ConfigurationError naming an entry point that cannot be used."""
    crms = dict(OWN)
    for entry in entry_points(group=GROUP):
        if entry.name in crms:
            raise ConfigurationError(f"two packages register the CRM {entry.name}, the second is {entry.value}: remove one")
        crms[entry.name] = _load(entry)
    return crms


def _load(entry: EntryPoint) -> ReadAccount:
    try:
        read_account = entry.load()
    except Exception as error:  # a package of somebody else's: it can fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"the CRM {entry.name} ({entry.value}) cannot be loaded: {reason}") from error
    if not callable(read_account):
        raise ConfigurationError(f"the CRM {entry.name}: {entry.value} is no function that reads an account")
    return read_account  # type: ignore[no-any-return]


def configured() -> dict[str, Account]:
    """The CRMs with credentials. Raises ConfigurationError naming a wrong setting."""
    accounts = {crm: read_account() for crm, read_account in known().items()}
    return {crm: account for crm, account in accounts.items() if account is not None}
