"""How each type of Postgres is read, so that no value loses anything and no setting of database, role or session shows in it.

What asyncpg reads exactly is read as it is. Of the others SQL makes a text. Of numeric, which is exact then. Of dates and times
through JSON, which has them in ISO 8601 whatever DateStyle says, and in which infinity and BC can be seen, as they cannot in the
dates of asyncpg. Of money by way of numeric, for its text has signs and commas. Of what is left as Postgres writes it, with the
settings pinned in the expression itself, because behind a transaction pooler those of the session are anyone's.
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

# Until the transaction ends, which is the statement. Each gives back a text, and none is known when the statement is planned.
_PINS = " || ".join(f"set_config('{name}', '{value}', true)" for name, value in STYLES.items())


@dataclass(frozen=True, slots=True)
class Type:
    """A row of describe_types.sql. name: as a person knows it. builtin: of its elements' or its base's type the name, where that
    is Postgres's own. labels: of an enum.
    """

    name: str
    is_list: bool
    builtin: str | None
    form: str
    category: str
    is_row: bool  # the whole row of a table, or a list of such
    labels: tuple[str, ...] | None = None

    @classmethod
    def describe(cls, row: Mapping[str, Any]) -> "Type":
        labels = None if row["labels"] is None else tuple(row["labels"])
        return cls(row["name"], row["is_list"], row["builtin"], row["form"], row["category"], row["is_row"], labels)

    @property
    def is_record(self) -> bool:
        """No value that a type of its own describes: two columns, or nothing at all."""
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
        """Whether what is read is a text that can be of any length."""
        return not self.is_list and self._kind in (Kind.TEXT, Kind.JSON, Kind.NUMERIC, *_AS_POSTGRES_WRITES)

    def bounded(self, expression: str, longest: int) -> str:
        """As read has it. A list of which the text is longer than this many bytes fails, as a whole: it cannot be cut."""
        if not self.is_list:
            return self.read(expression)
        size = f"octet_length(({expression})::text)"
        # The cast fails, and says what the length is.
        return f"CASE WHEN {size} <= {longest} OR ({size} || ' bytes')::integer IS NULL THEN {self.read(expression)} END"

    @property
    def _kind(self) -> Kind:
        # Enums, and texts such as char(n) and citext.
        is_text = self.form == "e" or (self.category == "S" and self.form == "b")
        return _KINDS.get(self.builtin or "", Kind.TEXT if is_text else Kind.OTHER)

    @property
    def _is_foreign(self) -> bool:
        """Written as Postgres writes it, through JSON: a cast to text makes 192.0.2.1 the network 192.0.2.1/32."""
        return self._kind in _AS_POSTGRES_WRITES and self.builtin is not None

    def _written(self, expression: str) -> str:
        if not self.is_list:
            return f"format('%s', {expression})"
        return f"to_json({expression})" if self._is_foreign else f"({expression})::text[]"
