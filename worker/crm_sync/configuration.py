"""Everything that is set, read once and handed down: at the start of a worker or a command, and again at SIGHUP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from crm_sync.crm import registry
from crm_sync.crm.account import Account
from crm_sync.crm.registry import Crm
from crm_sync.environment import Environment
from crm_sync.settings import LaneSettings, Settings
from crm_sync.table.mapping import read_file

Known = Callable[[], Mapping[str, Crm]]


@dataclass(frozen=True)
class Configuration:
    """settings: of the worker. known: the CRMs that can be talked to.

    All else is made when it is asked for, of what was captured: so that a command is not stopped by a wrong setting that it does
    not need. All of it raises ConfigurationError.
    """

    settings: Settings
    environment: Environment
    known: Known = registry.known

    @cached_property
    def crms(self) -> Mapping[str, Crm]:
        return self.known()

    @cached_property
    def accounts(self) -> Mapping[str, Account]:
        """By CRM, of those with credentials."""
        accounts = {crm: self.account(crm) for crm in self.crms}
        return {crm: account for crm, account in accounts.items() if account is not None}

    @cached_property
    def mapping(self) -> Mapping[str, Mapping[str, str]]:
        """The sections of MAPPING_FILE."""
        return read_file(self.settings.mapping_file)

    def account(self, crm: str) -> Account | None:
        """None without credentials, and where there is no client for this CRM."""
        if crm not in self.crms:
            return None
        with self.environment.in_force():
            return self.crms[crm].read_account() or None

    def lane(self, crm: str) -> LaneSettings:
        return self.environment.read_lane(crm)

    def default_fields(self, crm: str) -> Mapping[str, str]:
        """Without credentials where they are known without: rights are often granted before there are any."""
        known = self.crms.get(crm)
        if known is not None and known.default_fields is not None:
            return known.default_fields
        account = self.account(crm)
        return {} if account is None else account.default_fields


def load(known: Known = registry.known) -> Configuration:
    """What a command needs, when it needs it. Raises ConfigurationError where the worker's own settings are wrong."""
    environment = Environment.capture()
    return Configuration(environment.read(Settings), environment, known)


def load_all(known: Known = registry.known) -> Configuration:
    """All that a worker needs. Raises ConfigurationError naming what is wrong of it."""
    configuration = load(known)
    _ = configuration.mapping  # first, as near to .env as can be: they are edited together
    for crm in configuration.crms:
        configuration.lane(crm)
    _ = configuration.accounts
    return configuration
