"""Names that are set but have no effect: unknown ones that look as if they were ours (BREVO_APIKEY, CONTACT_TABLE, a section
[brvo]), and those of a CRM that has no credentials.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from crm_sync.console_settings import ConsoleSettings
from crm_sync.settings import SHARED, LaneSettings, SettingsModel

NEAR = 0.9  # for a name without a CRM's prefix: a letter or two differ


@dataclass(frozen=True, slots=True)
class UnknownName:
    """nearest: the name that may be meant. elsewhere: the settings of other CRMs that are called like it."""

    name: str
    nearest: str | None
    elsewhere: tuple[str, ...] = ()

    note = "it has no effect"

    @property
    def sentence(self) -> str:
        if self.elsewhere:
            crm = self.name.partition("_")[0].lower()
            named = " and ".join(filter(None, [", ".join(self.elsewhere[:-1]), self.elsewhere[-1]]))
            return f"{self.name} is set, but there is no such setting for {crm}, only {named}: unset it"
        hint = f": {self.nearest} may be meant" if self.nearest else ""
        return f"{self.name} is set, but is not a setting of crm-sync{hint}"


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """Settings of a CRM without credentials. missing: those that `crm-sync init` asks for and that are not set."""

    crm: str
    names: tuple[str, ...]
    missing: tuple[str, ...]

    nearest = None  # as of an UnknownName

    @property
    def name(self) -> str:
        return ", ".join(self.names)

    @property
    def note(self) -> str:
        pronoun = "it has" if len(self.names) == 1 else "they have"
        return f"{pronoun} no effect without {' and '.join(self.missing) or f'credentials for {self.crm}'}"

    @property
    def sentence(self) -> str:
        verb = "is" if len(self.names) == 1 else "are"
        return f"{' and '.join(self.names)} {verb} set, but {self.note}: no contact goes to {self.crm} from here"


def idle_settings(
    crm: str, names: Iterable[str], settings: type[SettingsModel] | None, asked: Iterable[str]
) -> IdleSettings | None:
    """crm: one without credentials. names: all that are set. settings, asked: of `crm_sync.crm.registry.Crm`."""
    its = [*(settings.model_fields if settings else ()), *(f"{crm}_{name}" for name in LaneSettings.model_fields)]
    found = {*names} & {*its}
    if not found:
        return None
    missing = tuple(name.upper() for name in asked if name not in found)
    return IdleSettings(crm, tuple(name.upper() for name in its if name in found), missing)


def unknown_settings(names: Iterable[str], crms: Mapping[str, type[SettingsModel] | None]) -> list[UnknownName]:
    """Of the names that are set: those with a CRM's prefix, and those that are similar to one of ours. Others belong to other
    programs.

    crms: by name, with their settings. If a CRM declares no settings, their names are not known, so none with its prefix is
    reported.
    """
    models: tuple[type[SettingsModel], ...] = (*SHARED, ConsoleSettings)
    shared = [name for model in models for name in model.model_fields]
    of_crms = {
        crm: [*(settings.model_fields if settings else ()), *(f"{crm}_{name}" for name in LaneSettings.model_fields)]
        for crm, settings in crms.items()
    }
    ours = [name for known in (shared, *of_crms.values()) for name in known]
    unknown = []
    for name in sorted({name.lower() for name in names} - set(ours)):
        crm = next((crm for crm in crms if name.startswith(f"{crm}_")), None)
        if crm is not None and crms[crm] is not None:
            rest = name.removeprefix(f"{crm}_")
            elsewhere = [f"{other}_{rest}" for other, known in of_crms.items() if f"{other}_{rest}" in known]
            if elsewhere:
                unknown.append(UnknownName(name.upper(), None, tuple(other.upper() for other in elsewhere)))
            else:
                unknown.append(_unknown(name, of_crms[crm], 0.5))
        # One of our names with a prefix or suffix belongs to another program: TEST_DATABASE_URL.
        elif crm is None and not any(own in name for own in ours) and get_close_matches(name, ours, 1, NEAR):
            unknown.append(_unknown(name, ours, NEAR))
    return unknown


def unknown_sections(sections: Iterable[str], crms: Iterable[str]) -> list[UnknownName]:
    """Sections of MAPPING_FILE that belong to no CRM."""
    known = [*crms]
    unknown = []
    for section in sections:
        if section not in known:
            nearest = get_close_matches(section.lower(), known, 1, 0.5)
            unknown.append(UnknownName(f"[{section}] of MAPPING_FILE", f"[{nearest[0]}]" if nearest else None))
    return unknown


def _unknown(name: str, known: list[str], cutoff: float) -> UnknownName:
    """Names that share a word, besides the first, come before those that only look similar."""
    words = {*name.split("_")[1:]}
    related = [other for other in known if words & {*other.split("_")[1:]}]
    nearest = get_close_matches(name, related, 1, cutoff) or get_close_matches(name, known, 1, cutoff)
    return UnknownName(name.upper(), nearest[0].upper() if nearest else None)
