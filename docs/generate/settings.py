"""Every setting, from the models that read it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import crm_sync.settings
from crm_sync.console_settings import ConsoleSettings
from crm_sync.crm.registry import OWN
from crm_sync.reports.setting_values import is_secret
from crm_sync.settings import (
    AlertSettings,
    LaneSettings,
    ProxySettings,
    Settings,
    SettingsModel,
    TraceSettings,
    TransportSettings,
)
from docs.generate.tables import code, sentence, table

# For settings that need more than a sentence.
_SEE = {
    "DATABASE_URL": "[The URL](database.md#the-url)",
    "LISTEN_DATABASE_URL": "[Behind a pooler](../how-to/pooler.md)",
    "CONTACTS_TABLE": "[Adopt your table](../how-to/adopt.md)",
    "MAPPING_FILE": "[Mapping](mapping.md)",
    "MAPPING_SEARCH_PATH": "[The search_path](database.md#the-search_path)",
    "HISTORY": "[History](history.md)",
    **dict.fromkeys(("METRICS_LISTEN", "METRICS_HOSTS"), "[Metrics](metrics.md)"),
    "HTTPS_PROXY": "[Proxies](crms.md#proxies-and-certificates)",
    "CONSOLE_LISTEN": "[The console](../how-to/console.md)",
    "CONSOLE_TOKENS_FILE": "[Who gets in](../how-to/console.md#who-gets-in)",
    "ALERT_WEBHOOK_URL": "[Alerts](../how-to/alert.md)",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "[Traces](../how-to/trace.md)",
    "N8N_WEBHOOK_URL": "[n8n](../how-to/n8n.md)",
    "MAUTIC_BASE_URL": "[Mautic](../how-to/mautic.md)",
    "BREVO_API_KEY": "[Brevo](../how-to/brevo.md)",
    "HUBSPOT_ACCESS_TOKEN": "[HubSpot](../how-to/hubspot.md)",
    "HUBSPOT_CONTACTS_PATH": "[HubSpot's versions](crms.md#hubspots-versions)",
    **dict.fromkeys(("HUBSPOT_MATCH", "BREVO_MATCH", "MAUTIC_MATCH"), "[Matching](crms.md#by-a-key-of-your-own)"),
    "BREVO_PHONE_ONLY": "[Contacts without an address](../how-to/brevo.md#contacts-without-an-address)",
    "BREVO_EMPTY": "[Clearing](mapping.md#clearing)",
    **dict.fromkeys(("HUBSPOT_MODE", "BREVO_MODE", "MAUTIC_MODE"), "[Modes](crms.md#modes)"),
}
_DEFAULTS = {
    "LISTEN_DATABASE_URL": "`DATABASE_URL`",
    "CONSOLE_DATABASE_URL": "`DATABASE_URL`",
    "MAPPING_FILE": "built in",
    "BREVO_LIMITS": "of the plan",
    "BREVO_CONCURRENCY": "of the CRM",
    "BREVO_BATCH_SIZE": "of the CRM",
}
_MODELS: Mapping[str, type[BaseModel]] = {
    "settings-worker": Settings,
    "settings-transport": TransportSettings,
    "settings-proxy": ProxySettings,
    "settings-alerts": AlertSettings,
    "settings-traces": TraceSettings,
    "settings-console": ConsoleSettings,
}


def _table(model: type[BaseModel], prefix: str = "") -> str:
    rows = [_row(f"{prefix}{name}".upper(), field) for name, field in model.model_fields.items()]
    return table(["setting", "default", "meaning"], rows)


def _row(name: str, field: FieldInfo) -> list[str]:
    if not field.description:
        raise ValueError(f"{name} has no description in its model")
    notes = [sentence(field.description)]
    if "secret" not in field.description.lower() and is_secret(field):
        notes.append("Secret: masked wherever it is shown.")
    if limits := _limits(field):
        notes.append(limits)
    if name in _SEE:
        notes.append(f"See {_SEE[name]}.")
    return [code(name), _default(name, field), " ".join(notes)]


def _default(name: str, field: FieldInfo) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    if field.is_required():
        return "required"
    if field.default is None or field.default == "":
        return "none"
    if isinstance(field.default, bool):
        return code(str(field.default).lower())
    if isinstance(field.default, float):
        return code(f"{field.default:g}")
    return code(str(field.default))


def _limits(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for constraint in field.metadata:
        for bound in ("ge", "gt", "le"):
            if getattr(constraint, bound, None) is not None:
                bounds[bound] = getattr(constraint, bound)
    least = f"{bounds['ge']:,} or more" if "ge" in bounds else f"more than {bounds['gt']:,}" if "gt" in bounds else ""
    most = f"{bounds['le']:,} at most" if "le" in bounds else ""
    if least and most and "ge" in bounds:
        return f"{bounds['ge']:,} to {bounds['le']:,}."
    return sentence(", ".join(filter(None, (least, most)))) if least or most else ""


def models() -> dict[str, type[BaseModel]]:
    """All except LaneSettings, by the name of their part. Raises ValueError if one is not listed here."""
    listed = {**_MODELS, **{f"settings-{name}": crm.settings for name, crm in OWN.items() if crm.settings}}
    there = {value for value in vars(crm_sync.settings).values() if isinstance(value, type) and issubclass(value, SettingsModel)}
    if missing := there - {SettingsModel, LaneSettings, *listed.values()}:
        raise ValueError(f"docs/generate/settings.py lists no {', '.join(model.__name__ for model in missing)}")
    return listed


PARTS: Mapping[str, Callable[[], str]] = {
    **{name: partial(_table, model) for name, model in models().items()},
    "settings-lane": partial(_table, LaneSettings, "brevo_"),
}
