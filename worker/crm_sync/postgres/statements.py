"""The statements of sql/queries, with a CRM's column names put in.

The files are written for psql, whose variables stand for what differs between CRMs: `:due_at` is brevo_due_at or
hubspot_due_at, `:'crm'` a literal. The same substitution is made here. The numbers of locks are variables of every statement.
What stands between `\\if :name` and `\\endif`, on lines of their own, is there where that variable is on, as in psql.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from crm_sync.postgres import locks

OTHER = ""  # the name of a statement that is in no file

_names: dict[str, str] = {}  # of statements, by their text
_VARIABLE = re.compile(r"::|:'(\w+)'|:([a-z_]+)")
_CHOICE = re.compile(r"^\\if :(\w+)\n(.*?)^\\endif\n", re.MULTILINE | re.DOTALL)
ON, OFF = "on", "off"  # of a variable that a part of a statement hangs on


def folder() -> Path:
    """Where the SQL lives: inside an installed package, next to it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "sql"
    return packaged if packaged.is_dir() else package.parents[1] / "sql"


@cache
def files() -> Mapping[str, Path]:
    """The files of sql/queries by name. A room has a folder there; names are unique over all of them."""
    return {path.stem: path for path in sorted((folder() / "queries").glob("*/*.sql"))}


@cache
def read(name: str) -> str:
    """The text of a file, as it stands there: one statement."""
    return files()[name].read_text()


@cache
def query(name: str) -> str:
    """A statement that is the same for every CRM."""
    return render(name, {})


def render(name: str, variables: Mapping[str, str]) -> str:
    """A statement with its variables put in. They are SQL already: identifiers quoted, expressions as they are."""

    def value(match: re.Match[str]) -> str:
        literal, identifier = match.groups()
        if literal is not None:
            return "'" + known[literal].replace("'", "''") + "'"
        return match.group() if identifier is None else known[identifier]

    known = {**locks.VARIABLES, **variables}
    text = _CHOICE.sub(lambda match: match[2] if known.get(match[1]) == ON else "", read(name))

    # Comments are for readers of the file; the wire and the server's views need not carry them.
    statement = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    rendered = _VARIABLE.sub(value, statement).strip()
    _names[rendered] = name
    return rendered


def name_of(statement: str) -> str:
    """The file that it was rendered from, OTHER where it is from none."""
    return _names.get(statement, OTHER)


def set_to(settings: Mapping[str, str | int], *, local: bool) -> str:
    """Several settings in one message. Not in a file, for SET takes no parameters and each caller sets others: names and values
    of ours.

    local: until the transaction ends, else until the session does.
    """
    scope = "SET LOCAL" if local else "SET"
    # A path is a list, and no text.
    values = {name: value if name == "search_path" else f"'{value}'" for name, value in settings.items()}
    return "; ".join(f"{scope} {name} = {value}" for name, value in values.items())


def quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
