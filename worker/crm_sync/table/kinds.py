"""How each Postgres type is read, without loss, and independent of settings of the database, role or session.

Types that asyncpg reads exactly are read directly. SQL converts the others to text: numeric, which is then exact; dates and times
through JSON, which uses ISO 8601 whatever DateStyle says and shows infinity and BC, unlike asyncpg's dates; money through
numeric, because its text has signs and commas; all others as Postgres writes them, with the settings pinned in the expression
itself, because behind a transaction pooler the session's settings are unreliable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crm_sync.core.values import Kind, Shape
from crm_sync.postgres.session_settings import STYLES

_KINDS = {
    "text": Kind.TEXT,
    "varchar": Kind.TEXT,
    "uuid": Kind.TEXT,
    "time": Kind.TEXT,
    "bool": Kind.BOOLEAN,
    "int2": Kind.SMALL,
    "int4": Kind.SMALL,
    "int8": Kind.BIG,
    "numeric": Kind.NUMERIC,
    "money": Kind.NUMERIC,
    "float4": Kind.REAL,
    "float8": Kind.DOUBLE,
    "date": Kind.DATE,
    "timestamptz": Kind.MOMENT,
    "timestamp": Kind.LOCAL_MOMENT,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
    "interval": Kind.INTERVAL,
}
_AS_THEY_ARE = {"text", "varchar", "bool", "int2", "int4", "int8", "float4", "float8", "json", "jsonb"}
_AS_POSTGRES_WRITES = (Kind.INTERVAL, Kind.OTHER)
_DATES = (Kind.DATE, Kind.MOMENT, Kind.LOCAL_MOMENT)

# Until the transaction ends, which is the statement. Each returns text, and none is constant-folded during planning.
_PINS = " || ".join(f"set_config('{name}', '{value}', true)" for name, value in STYLES.items())


@dataclass(frozen=True, slots=True)
class Type:
    """A row of describe_types.sql. name: for people. builtin: the name of the type, of its elements or of its base type, if it is
    Postgres's own. labels: of an enum.
    """

    name: str
    is_list: bool
    builtin: str | None
    form: str
    category: str
    is_row: bool  # the whole row of a table, or a list of rows
    labels: tuple[str, ...] | None = None

    @classmethod
    def describe(cls, row: Mapping[str, Any]) -> "Type":
        labels = None if row["labels"] is None else tuple(row["labels"])
        return cls(row["name"], row["is_list"], row["builtin"], row["form"], row["category"], row["is_row"], labels)

    @property
    def is_record(self) -> bool:
        """Not a value with a type of its own: two columns, or none at all."""
        return self.form == "p"

    @property
    def shape(self) -> Shape:
        return Shape(self._kind, self.is_list, self.is_list and (self._kind in _DATES or self._is_foreign))

    def read(self, expression: str) -> str:
        """The expression, read without loss."""
        kind = self._kind
        if kind is Kind.JSON and not self.is_list:
            return f"({expression})::text"
        if self.builtin in _AS_THEY_ARE and not (self.is_list and kind is Kind.JSON):
            return f"({expression})"
        if kind in _AS_POSTGRES_WRITES:
            return f"CASE WHEN {_PINS} <> '' THEN {self._written(expression)} END"
        if kind in _DATES:
            if self.is_list:
                return f"to_json({expression})"
            in_utc = f"({expression}) AT TIME ZONE 'UTC'" if kind is Kind.MOMENT else expression
            return f"to_json({in_utc}) #>> '{{}}'"
        dimension = "[]" if self.is_list else ""
        number = f"({expression})::numeric{dimension}" if self.builtin == "money" else f"({expression})"
        return f"{number}::text{dimension}"

    @property
    def is_text(self) -> bool:
        """Whether the result is a text of unlimited length."""
        return not self.is_list and self._kind in (Kind.TEXT, Kind.JSON, Kind.NUMERIC, *_AS_POSTGRES_WRITES)

    def bounded(self, expression: str, longest: int) -> str:
        """As read does it. A list whose text is longer than this many bytes fails as a whole, because it cannot be truncated."""
        if not self.is_list:
            return self.read(expression)
        size = f"octet_length(({expression})::text)"
        # The cast fails, and its message says the length.
        return f"CASE WHEN {size} <= {longest} OR ({size} || ' bytes')::integer IS NULL THEN {self.read(expression)} END"

    @property
    def _kind(self) -> Kind:
        # Enums, and texts such as char(n) and citext.
        is_text = self.form == "e" or (self.category == "S" and self.form == "b")
        return _KINDS.get(self.builtin or "", Kind.TEXT if is_text else Kind.OTHER)

    @property
    def _is_foreign(self) -> bool:
        """As Postgres writes it, through JSON: a cast to text would make 192.0.2.1 the network 192.0.2.1/32."""
        return self._kind in _AS_POSTGRES_WRITES and self.builtin is not None

    def _written(self, expression: str) -> str:
        if not self.is_list:
            return f"format('%s', {expression})"
        return f"to_json({expression})" if self._is_foreign else f"({expression})::text[]"
