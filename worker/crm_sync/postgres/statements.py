"""The statements of sql/queries, with a CRM's column names filled in.

The files are written for psql, whose variables stand for what differs between CRMs: `:due_at` is brevo_due_at or hubspot_due_at,
`:'crm'` a literal. The same substitution is done here. Lock numbers are variables of every statement. Text between `\\if :name`
and `\\endif`, each on its own line, is included if that variable is on, as in psql.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from crm_sync.postgres import locks

OTHER = ""  # name of a statement that is in no file

_names: dict[str, str] = {}  # of statements, by their text
_VARIABLE = re.compile(r"(?:(?<!:)|(?<=::)):(?:'(\w+)'|([a-z_]+))")  # not the :: of a cast, but a variable after it
_CHOICE = re.compile(r"^\\if :(\w+)\n(.*?)^\\endif\n", re.MULTILINE | re.DOTALL)
ON, OFF = "on", "off"  # values of a variable that switches part of a statement


def folder() -> Path:
    """Where the SQL is: inside an installed package, next to it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "sql"
    return packaged if packaged.is_dir() else package.parents[1] / "sql"


@cache
def files() -> Mapping[str, Path]:
    """The files of sql/queries by name. Each package has a folder there; names are unique across folders."""
    return {path.stem: path for path in sorted((folder() / "queries").glob("*/*.sql"))}


@cache
def read(name: str) -> str:
    """The text of a file, unchanged: one statement."""
    return files()[name].read_text()


@cache
def query(name: str) -> str:
    """A statement that is the same for every CRM."""
    return render(name, {})


def render(name: str, variables: Mapping[str, str]) -> str:
    """A statement with its variables filled in. They are SQL already: quoted identifiers and expressions."""
    known = {**locks.VARIABLES, **variables}
    start, others = _parts(name, tuple(known.get(choice) == ON for choice in _choices(name)))
    rendered = start + "".join(
        [(_literal(known[variable]) if quoted else known[variable]) + text for quoted, variable, text in others]
    )
    _names[rendered] = name
    return rendered


@cache
def _choices(name: str) -> list[str]:
    return [choice for choice, _ in _CHOICE.findall(read(name))]


@cache
def _parts(name: str, taken: tuple[bool, ...]) -> tuple[str, list[tuple[bool, str, str]]]:
    """A statement, taken apart once: a lane renders dozens, and again whenever the table changes.

    taken: whether each choice is. Returns the text before the first variable, and each variable with the text that follows it.
    """
    each = iter(taken)
    text = _CHOICE.sub(lambda match: match[2] if next(each) else "", read(name))
    # Comments are for readers of the file; the wire and the server's views do not need them.
    statement = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).strip()
    start, *others = _VARIABLE.split(statement)
    return start, [
        (literal is not None, literal or identifier, text)
        for literal, identifier, text in zip(others[::3], others[1::3], others[2::3], strict=True)
    ]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def name_of(statement: str) -> str:
    """The file that it was rendered from, or OTHER."""
    return _names.get(statement, OTHER)


def set_to(settings: Mapping[str, str | int], *, local: bool) -> str:
    """Several settings in one message. It is not in a file, because SET takes no parameters and each caller sets different ones.
    Names and values are our own.

    local: until the transaction ends; otherwise until the session ends.
    """
    scope = "SET LOCAL" if local else "SET"
    # A path is a list, not a text.
    values = {name: value if name == "search_path" else f"'{value}'" for name, value in settings.items()}
    return "; ".join(f"{scope} {name} = {value}" for name, value in values.items())


def quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
