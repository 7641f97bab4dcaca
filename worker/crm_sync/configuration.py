"""The whole configuration, read once and passed down: at the start of a worker or a command, and again at SIGHUP."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crm_sync.crm import registry
from crm_sync.crm.account import Account
from crm_sync.crm.registry import Crm
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError, CrmSyncError
from crm_sync.settings import LaneSettings, Settings, TransportSettings
from crm_sync.table.mapping import read_file
from crm_sync.unknown_names import IdleSettings, UnknownName, idle_settings, unknown_sections, unknown_settings

Known = Callable[[], Mapping[str, Crm]]


@dataclass(frozen=True, slots=True)
class LaneConfiguration:
    """All settings of one CRM, each valid on its own. sections: of MAPPING_FILE, not yet checked against the table."""

    crm: str
    settings: LaneSettings
    account: Account
    sections: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Configuration:
    """settings: of the worker. known: the supported CRMs.

    Everything else is derived on demand from what was captured, so that a wrong setting stops neither a command nor another CRM's
    lane that does not need it. Methods raise ConfigurationError.
    """

    settings: Settings
    environment: Environment
    known: Known = registry.known

    @cached_property
    def crms(self) -> Mapping[str, Crm]:
        return self.known()

    @cached_property
    def mapping(self) -> Mapping[str, Mapping[str, Any]]:
        """The sections of MAPPING_FILE."""
        return read_file(self.settings.mapping_file)

    def account(self, crm: str) -> Account | None:
        """None without credentials, or without a client for this CRM."""
        if crm not in self.crms:
            return None
        try:
            with self.environment.in_force():
                return self.crms[crm].read_account() or None
        except CrmSyncError:
            raise
        except Exception as error:  # a plug-in can fail in any way
            raise ConfigurationError(f"the settings of {crm} cannot be read: {type(error).__name__}") from error

    def lane(self, crm: str) -> LaneSettings:
        return self.environment.read_lane(crm)

    def of_lane(self, crm: str) -> LaneConfiguration | None:
        """Everything that the lane of this CRM needs; None without credentials."""
        settings, account = self.lane(crm), self.account(crm)
        return None if account is None else LaneConfiguration(crm, settings, account, self.mapping)

    def with_credentials(self) -> list[str]:
        """The CRMs that have credentials, without those whose settings are wrong. Raises nothing."""
        found = []
        for crm in self.crms:
            with suppress(ConfigurationError):
                if self.account(crm) is not None:
                    found.append(crm)
        return found

    def names_without_effect(self) -> list[UnknownName | IdleSettings]:
        """Names that are set but have no effect, although they look as if they were meant for crm-sync. Raises nothing."""
        settings = {name: crm.settings for name, crm in self.crms.items()}
        unknown = [*unknown_settings(self.environment.values, settings), *unknown_sections(self.mapping, self.crms)]
        return [*unknown, *idle(self.environment, self.crms)]

    def keys(self, crm: str) -> list[str]:
        """The names of its secret settings that are set."""
        model = self.crms[crm].settings if crm in self.crms else None
        names = [] if model is None else [name for name, field in model.model_fields.items() if "Secret" in str(field.annotation)]
        return [name.upper() for name in names if name in self.environment.values]

    def default_fields(self, crm: str) -> Mapping[str, str]:
        """Also without credentials, if they are known then: rights are often granted before there are any."""
        known = self.crms.get(crm)
        if known is not None and known.default_fields is not None:
            return known.default_fields
        account = self.account(crm)
        return {} if account is None else account.default_fields


def idle(environment: Environment, crms: Mapping[str, Crm]) -> Iterator[IdleSettings]:
    """What is set of CRMs that have no credentials. An error in the settings of a CRM is told elsewhere."""
    for name, crm in crms.items():
        try:
            with environment.in_force():
                has_credentials = crm.read_account() is not None
        except Exception:  # noqa: BLE001, S112 (a plug-in can fail in any way)
            continue
        if not has_credentials and (found := idle_settings(name, environment.values, crm.settings, crm.asked)):
            yield found


def load(known: Known = registry.known) -> Configuration:
    """What a command needs, when it needs it. Raises ConfigurationError if the worker's own settings are wrong."""
    environment = Environment.capture()
    return Configuration(environment.read(Settings), environment, known)


def load_for_worker(known: Known = registry.known) -> Configuration:
    """Reads everything that all lanes share. Raises ConfigurationError if that is wrong; a fault of one CRM is reported by its
    lane.
    """
    configuration = load(known)
    _ = configuration.mapping  # read at the same time as .env, because both are edited together
    configuration.environment.read(TransportSettings)
    return configuration
