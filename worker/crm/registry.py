"""Which CRMs this worker can talk to."""

from collections.abc import Callable, Mapping

from worker.crm import brevo
from worker.crm.client import Account

# Reads the settings of each CRM. None: it has no credentials, so no lane.
ACCOUNTS: Mapping[str, Callable[[], Account | None]] = {"brevo": brevo.account}


def configured() -> dict[str, Account]:
    """The CRMs with credentials. Raises ConfigurationError naming a wrong setting."""
    accounts = {crm: read_account() for crm, read_account in ACCOUNTS.items()}
    return {crm: account for crm, account in accounts.items() if account is not None}
