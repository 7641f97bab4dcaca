"""Views, tables and functions for applications and reports: their definitions from sql/schema.sql, their
purpose from sql.toml.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from docs.generate.tables import code, table, wrapped

_HERE = Path(__file__).parent
SCHEMA = (_HERE.parents[1] / "sql" / "schema.sql").read_text(encoding="utf-8")


def _relations(kind: str) -> str:
    return "\n".join(_relation(name, entry) for name, entry in _entries()[kind].items())


def _entries() -> Mapping[str, Any]:
    return tomllib.loads((_HERE / "sql.toml").read_text(encoding="utf-8"))


def _relation(name: str, entry: Mapping[str, Any]) -> str:
    there, meanings = columns_of(name), entry["columns"]
    if list(there) != list(meanings):
        raise ValueError(
            f"docs/generate/sql.toml: crm_sync.{name} has the columns {', '.join(there)}; explained are {', '.join(meanings)}"
        )
    rows = [[code(column), kind, meanings[column]] for column, kind in there.items()]
    head = ["column", "type", "meaning"] if any(there.values()) else ["column", "meaning"]
    if len(head) == 2:
        rows = [[column, meaning] for column, _, meaning in rows]
    return f"### crm_sync.{name}\n\n{wrapped(entry['meaning'])}\n\n{table(head, rows)}"


def columns_of(name: str) -> dict[str, str]:
    """Types by name; for a view, whose definition has none, empty texts. Raises ValueError if it is neither a
    table nor a view.
    """
    if made := re.search(rf"^CREATE TABLE crm_sync\.{name} \(\n(.*?)^\)", SCHEMA, re.MULTILINE | re.DOTALL):
        found = re.findall(
            r"^    ([a-z_]+) ((?:timestamp with time zone|double precision|[a-z]+)(?:\[\])?)", made[1], re.MULTILINE
        )
        return {column: kind.replace("timestamp with time zone", "timestamptz") for column, kind in found}
    made = re.search(rf"^CREATE VIEW crm_sync\.{name} AS\n SELECT (.*?)^   FROM ", SCHEMA, re.MULTILINE | re.DOTALL)
    if made is None:
        raise ValueError(f"sql/schema.sql has no table or view crm_sync.{name}")
    return {re.split(r"\bAS |\.|\s", line.strip(" ,\n"))[-1]: "" for line in made[1].splitlines()}


def functions() -> str:
    rows = []
    for name, entry in _entries()["function"].items():
        made = re.search(rf"^CREATE FUNCTION crm_sync\.{name}\((.*)\) RETURNS (.*)$", SCHEMA, re.MULTILINE)
        if made is None:
            raise ValueError(f"sql/schema.sql has no function crm_sync.{name}")
        arguments = made[1].replace("::text", "")
        returns = made[2].replace("timestamp with time zone", "timestamptz")
        rows.append([code(f"crm_sync.{name}({arguments})"), code(returns), entry["who"], entry["meaning"]])
    return table(["function", "returns", "who may call it", "meaning"], rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "sql-views": partial(_relations, "view"),
    "sql-tables": partial(_relations, "table"),
    "sql-functions": functions,
}
