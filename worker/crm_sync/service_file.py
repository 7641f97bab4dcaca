"""The file that describes Postgres services, read as libpq does: for both drivers, because asyncpg supports it only partly."""

import os
from collections.abc import Iterator
from pathlib import Path

OWN = ".pg_service.conf"
SHARED = "pg_service.conf"  # in the directory named by PGSYSCONFDIR


def read_service(name: str) -> dict[str, str]:
    """The parameters of a service, by libpq's names. Raises ValueError if it is in no file, or cannot be read."""
    for file in _files():
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"service: the file {file} cannot be read: {type(error).__name__}") from error
        if (found := _section(text, name)) is not None:
            return found
    raise ValueError("service: not found in the file that PGSERVICEFILE names or ~/.pg_service.conf, nor in PGSYSCONFDIR")


def _files() -> Iterator[Path]:
    if named := os.environ.get("PGSERVICEFILE"):
        yield Path(named)
    elif home := os.environ.get("HOME"):
        yield Path(home) / OWN
    if shared := os.environ.get("PGSYSCONFDIR"):
        yield Path(shared) / SHARED


def _section(text: str, name: str) -> dict[str, str] | None:
    found: dict[str, str] | None = None
    within = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            within = found is None and line == f"[{name}]"
            found = {} if within else found
        elif within and found is not None and line and not line.startswith("#"):
            parameter, separator, value = line.partition("=")
            if not separator:
                raise ValueError("service: a line in its file is not name=value; LDAP is not supported")
            # The first one counts, as in libpq.
            found.setdefault(parameter.strip(), value.strip())
    return found
