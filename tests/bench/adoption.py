"""A table of two million rows is adopted, and given back, during 200 writes a second: how long a writer waits."""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from crm_sync.sandbox.postgres import Postgres
from tests.adoption import field
from tests.adoption.application import Wait, under_load
from tests.bench.promises import Promise, at_most, exactly, told

ROWS = 2_000_000
STARTING_S, BEFORE_S = 5.0, 20.0
LONGEST_S = 0.2
DATABASE = "bench_adoption"
PARTS = {"adopting": ("adopt",), "adopting again": ("adopt",), "undoing": ("adopt", "--undo", "--yes")}


@dataclass(frozen=True, slots=True)
class Figures:
    """waits and durations, in seconds: by part. differences: rows without the last value written."""

    waits: Mapping[str, Wait]
    durations: Mapping[str, float]
    differences: int

    def promises(self) -> list[Promise]:
        shown = [told("longest wait of a writer before", 1e3 * self.waits["before"].longest, "ms")]
        for part in PARTS:
            wait = self.waits[part]
            shown += [
                at_most(f"while {part}", 1e3 * wait.longest, 1e3 * LONGEST_S, "ms"),
                told("    of those who write to another table", 1e3 * wait.of_control, "ms"),
                told(f"    {part} took", self.durations[part], "s", 1),
                told("    writes meanwhile", wait.writes),
                exactly("    of them failed", len(wait.failed), 0),
            ]
        # Otherwise two rows with the same name would be merged.
        named = [row._replace(what=f"{row.what}{' ' * number}") for number, row in enumerate(shown)]
        return [*named, exactly("rows that do not say what was written last", self.differences, 0)]


def measure(server: Postgres, rows: int = ROWS) -> Figures:
    field.make_roles(server)
    field.make_database(server, DATABASE, rows)
    owner, application = (field.as_role(server.url(DATABASE), role) for role in (field.OWNER, field.APPLICATION))
    durations = {}
    with under_load(application, rows) as load:
        time.sleep(STARTING_S)
        load.begin("before")
        time.sleep(BEFORE_S)
        for part, arguments in PARTS.items():
            load.begin(part)
            started = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "crm_sync", *arguments],
                env={"DATABASE_URL": owner, "CONTACTS_TABLE": field.TABLE},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            durations[part] = time.monotonic() - started
        waits, differences = load.end()
    server.drop_database(DATABASE)
    return Figures(waits, durations, differences)
