"""A new .env, as written by `crm-sync init`. `crm_sync.environment` reads it."""

import os
from collections.abc import Mapping
from pathlib import Path

from crm_sync.errors import ConfigurationError, DeclinedError

PRIVATE = 0o600


def text_of(values: Mapping[str, str]) -> str:
    """Raises ConfigurationError for a value that such a file cannot contain."""
    return "".join(f"{name}={_quoted(name, value)}\n" for name, value in values.items())


def _quoted(name: str, value: str) -> str:
    if "${" in value:
        raise ConfigurationError(f"{name}: what is in .env between ${{ and }} is replaced, so set it in the environment")
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def write_new(path: Path, text: str, mode: int) -> None:
    """Raises DeclinedError if the file exists, which is left unchanged, and ConfigurationError if it cannot be created."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except FileExistsError as error:
        raise already_there(path) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def already_there(path: Path) -> DeclinedError:
    return DeclinedError(f"{path} exists already, and is not overwritten: move it away, or change to another directory")
