"""The environment, .env, and systemd's credentials. This is the only module that reads them."""

import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TypeVar

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from crm_sync.errors import ConfigurationError
from crm_sync.settings import LaneSettings, SettingsModel

ENV_FILE = ".env"  # in the current directory
ENVIRONMENT, CREDENTIAL = "environment", "credential"  # with ENV_FILE, the possible origins of a value
UTF_8 = "utf-8-sig"  # with or without the byte order mark that editors on Windows write

_NAME_AND_VALUE = "expected NAME=value, and a closing quote for each opening one"

Model = TypeVar("Model", bound=SettingsModel)


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that was set when it was captured. Each file is read only once, so that all values come from one version of it.

    values: by name, in lower case. unreadable: credentials that cannot be read, and why, which matters only if they are needed.
    origins: by name, where its value comes from.
    """

    values: Mapping[str, str]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def capture(cls) -> "Environment":
        """The environment takes precedence over .env, and .env over credentials. Raises ConfigurationError if they cannot be
        read.
        """
        _refuse_foreign(Path(ENV_FILE))
        try:
            credentials, unreadable = _credentials()
            # HTTPS_PROXY and https_proxy are the same. If both are set, the lower-case one counts, as in other programs.
            small = {name: value for name, value in os.environ.items() if name.islower() and value}
            written = _written()
            variables = {**EnvSettingsSource(_Outside).env_vars, **small}
        except OSError as error:
            raise ConfigurationError(_cannot_be_read(error.strerror)) from error
        except UnicodeDecodeError:
            raise ConfigurationError(f"{Path(ENV_FILE).absolute()} is not UTF-8: save it as UTF-8") from None
        held, outside = _filled(credentials), _filled({**written, **variables})
        origins = {
            **dict.fromkeys(held, CREDENTIAL),
            **{name: ENVIRONMENT if name in variables else ENV_FILE for name in outside},
        }
        return cls(held | outside, unreadable, origins)

    def read(self, model: type[Model]) -> Model:
        """Raises ConfigurationError with the names of wrong settings and what is expected, never with a value."""
        return self._read(model, "")

    def read_lane(self, crm: str) -> LaneSettings:
        """The settings of one CRM's lane. Raises as read does."""
        return self._read(LaneSettings, f"{crm.upper()}_")

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Inside, `read` and `read_lane` of this module use this environment."""
        token = _in_force.set(self)
        try:
            yield
        finally:
            _in_force.reset(token)

    def _read(self, model: type[Model], prefix: str) -> Model:
        names = {name: f"{prefix}{name}".lower() for name in model.model_fields}
        for name in names.values():
            if name in self.unreadable and name not in self.values:
                raise ConfigurationError(_cannot_be_read(self.unreadable[name]))
        try:
            return model(**{name: self.values[key] for name, key in names.items() if key in self.values})
        except ValidationError as error:
            problems = [
                f"{prefix}{'.'.join(map(str, problem['loc'])).upper()}: {_expected(problem, model)}"
                for problem in error.errors(include_input=False, include_url=False, include_context=False)
            ]
            raise ConfigurationError("; ".join(problems)) from None


def read(model: type[Model]) -> Model:
    """From the environment in force, else from the current one. Raises as Environment.capture and its read do."""
    return _current().read(model)


def read_lane(crm: str) -> LaneSettings:
    """The settings of one CRM's lane, from the same environment as `read`."""
    return _current().read_lane(crm)


# For functions that read an account, because those of plug-ins are called without arguments.
_in_force: ContextVar[Environment | None] = ContextVar("environment", default=None)


def _current() -> Environment:
    return _in_force.get() or Environment.capture()


class _Outside(BaseSettings):
    """How it is read."""

    model_config = SettingsConfigDict(env_ignore_empty=True)


def _written() -> dict[str, str | None]:
    """What is set in .env, by name in lower case; of two lines with one name the last counts. Raises ConfigurationError for a
    line that sets nothing. Its reader would skip it: a key would be missing silently, and after an open quote, all that
    follows.
    """
    file = Path(ENV_FILE)
    if not (file.is_file() or file.is_fifo()):
        return {}
    text = file.read_text(encoding=UTF_8)
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise ConfigurationError(f"{file.absolute()}, line {_first_line(binding)}: {_NAME_AND_VALUE}")
    return {name.lower(): value for name, value in dotenv_values(stream=StringIO(text)).items()}


def _first_line(binding: Binding) -> int:
    """The number of its line. Blank ones before it belong to it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _refuse_foreign(file: Path) -> None:
    """It decides where keys and contacts go, and comes from whatever directory the command is run in.

    Raises ConfigurationError for a file that belongs to a user other than this one or root, or that everyone may write to.
    """
    try:
        found = (file.lstat(), file.stat())  # a link has an owner too
    except OSError:
        return  # it does not exist, or cannot be read, which the reader of the file reports
    where = file.absolute()
    for status in found:
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigurationError(
                f"{where} belongs to another user ({_user(status.st_uid)}), who could have keys sent anywhere. Change to "
                f"another directory, or if this is intended: chown {os.geteuid()} {where}"
            )
    if found[-1].st_mode & stat.S_IWOTH:
        raise ConfigurationError(f"anyone can write to {where} and could redirect where keys are sent: chmod o-w {where}")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _credentials() -> tuple[dict[str, str], dict[str, str]]:
    """systemd's LoadCredential puts one file per key there. By name in lower case: the content of each, or why it cannot be read.
    Raises OSError if none can.
    """
    named = os.environ.get("CREDENTIALS_DIRECTORY")
    folder = Path(named).resolve() if named else None
    held: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    if folder is None or not folder.is_dir():
        return held, unreadable
    for file in folder.iterdir():
        if not file.is_file() or folder not in file.resolve().parents:
            continue
        try:
            # One that is not text may be meant for another program.
            held[file.name.lower()] = file.read_text(encoding=UTF_8, errors="surrogateescape").strip()
        except OSError as error:
            unreadable[file.name.lower()] = error.strerror or type(error).__name__
    return held, unreadable


def _filled(values: Mapping[str, str | None]) -> dict[str, str]:
    """Without surrounding whitespace; empty values count as not set."""
    return {name: stripped for name, value in values.items() if value is not None and (stripped := value.strip())}


def _cannot_be_read(reason: str | None) -> str:
    return f".env or a credential cannot be read: {reason}"


def _expected(problem: ErrorDetails, model: type[SettingsModel]) -> str:
    if problem["type"] != "missing":
        return problem["msg"].removeprefix("Value error, ")
    example = next(iter(model.model_fields[str(problem["loc"][0])].examples or ()), None)
    return "not set; it is required" if example is None else f"not set; it is required, in the form {example}"
