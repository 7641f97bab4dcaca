"""Which exit code means what."""

from collections.abc import Callable, Mapping

from crm_sync.exit_codes import EXIT_CODES
from docs.generate.tables import code, table


def exit_codes() -> str:
    rows = [[str(number), ", ".join(map(code, commands)) or "every command", meaning] for number, commands, meaning in EXIT_CODES]
    return table(["exit code", "command", "meaning"], rows)


PARTS: Mapping[str, Callable[[], str]] = {"exit-codes": exit_codes}
