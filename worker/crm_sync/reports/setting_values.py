"""Every setting with its current value, and where that comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic.fields import FieldInfo

from crm_sync.configuration import idle
from crm_sync.core.shown_values import shown
from crm_sync.crm.registry import Crm
from crm_sync.environment import Environment
from crm_sync.errors import ConfigurationError
from crm_sync.settings import SHARED, LaneSettings, SettingsModel
from crm_sync.unknown_names import IdleSettings, UnknownName, unknown_settings

DEFAULT = "default"
NONE = "none"
# For a lane, if nothing is set: `crm_sync.crm` knows them.
OF_THE_CRM = {"limits": "those of the plan", "concurrency": "the CRM's own", "batch_size": "the CRM's own"}


@dataclass(frozen=True, slots=True)
class SettingValue:
    """value: masked if it is secret; empty if there is none. origin: environment, .env, credential or default."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together. wrong: what is wrong in them, and what is expected; empty if nothing is."""

    title: str
    values: list[SettingValue]
    wrong: list[str]


def groups(environment: Environment, crms: Mapping[str, Crm]) -> Iterator[Group]:
    """The worker's first, then those of each CRM."""
    yield Group("all CRMs", *_read(environment, [(model, "") for model in SHARED]))
    for name, crm in crms.items():
        models: list[tuple[type[SettingsModel], str]] = [(LaneSettings, f"{name}_")]
        if crm.settings is not None:
            models.insert(0, (crm.settings, ""))
        values, wrong = _read(environment, models)
        if not wrong:
            wrong = _of_account(environment, crm)
        yield Group(name, values, wrong)


def without_effect(environment: Environment, crms: Mapping[str, Crm]) -> list[UnknownName | IdleSettings]:
    """Names that are set but have no effect."""
    return [
        *unknown_settings(environment.values, {name: crm.settings for name, crm in crms.items()}),
        *idle(environment, crms),
    ]


def _read(environment: Environment, models: list[tuple[type[SettingsModel], str]]) -> tuple[list[SettingValue], list[str]]:
    """models: each with the prefix of its names."""
    values, wrong = [], []
    for model, prefix in models:
        for name, field in model.model_fields.items():
            value = _value(environment, f"{prefix}{name}", field)
            own = OF_THE_CRM.get(name) if model is LaneSettings and value.origin == DEFAULT else None
            values.append(value if own is None else replace(value, value=own))
        try:
            _ = environment.read_lane(prefix[:-1]) if prefix else environment.read(model)
        except ConfigurationError as error:
            wrong.append(str(error))
    return values, wrong


def is_secret(field: FieldInfo) -> bool:
    """Whether its value must be masked."""
    return "Secret" in str(field.annotation)


def _value(environment: Environment, name: str, field: FieldInfo) -> SettingValue:
    value = environment.values.get(name)
    if value is None:
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        return SettingValue(name.upper(), NONE if default in (None, "") else _default(default), DEFAULT)
    return SettingValue(name.upper(), shown(name, value, is_secret=is_secret(field)), environment.origins.get(name, ""))


def _default(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _of_account(environment: Environment, crm: Crm) -> list[str]:
    """Errors that no single setting shows: an incomplete login, a URL that keys must not be sent to."""
    try:
        with environment.in_force():
            crm.read_account()
    except ConfigurationError as error:
        return [str(error)]
    except Exception as error:  # noqa: BLE001 (a plug-in can fail in any way)
        return [f"the settings of {crm.name} cannot be read: {type(error).__name__}"]
    return []
