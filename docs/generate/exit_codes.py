"""Which exit code means what: the numbers are those of the commands."""

from collections.abc import Callable, Mapping

from crm_sync.cli import EXIT_CONFIGURATION, EXIT_FAILED
from crm_sync.commands import retry, status, why
from docs.generate.tables import table

EXIT_OK = 0
EXIT_USAGE = 2  # click's own


def exit_codes() -> str:
    rows = [
        (EXIT_OK, "every command", "It did what it was asked to do, and nothing is wrong."),
        (EXIT_FAILED, "every command", "It failed or was declined. Standard error says why in one sentence."),
        (EXIT_FAILED, "`check`, `settings`, `init`, `alerts test`", "At least one line is marked wrong, or one channel failed."),
        (EXIT_FAILED, "`migrate --check`", "Something is missing."),
        (EXIT_FAILED, "`sync`", "The contact was not delivered to every CRM it was sent to."),
        (status.EXIT_NEEDS_A_PERSON, "`status`", "A CRM is down, a lane is faulty, or contacts are ready and no worker runs."),
        (why.EXIT_NOT_FOUND, "`why`, `preview`, `sync`", "There is no such contact."),
        (retry.EXIT_LEFT, "`retry`", "Some contacts could not be flipped: they are locked, or the table refused them."),
        (EXIT_USAGE, "every command", "An option or an argument is not valid."),
        (status.EXIT_UNAVAILABLE, "`status`, `why`", "The database cannot be reached (`EX_UNAVAILABLE`)."),
        (
            EXIT_CONFIGURATION,
            "every command, and the worker at its start",
            (
                "A setting is not valid, or the database is not what this version needs (`EX_CONFIG`). "
                "The unit that `crm-sync systemd` prints does not restart the worker on this code."
            ),
        ),
        (retry.EXIT_INTERRUPTED, "`retry`", "Interrupted with Ctrl-C. Running it again continues."),
    ]
    return table(["exit code", "command", "meaning"], [[str(code), command, meaning] for code, command, meaning in rows])


PARTS: Mapping[str, Callable[[], str]] = {"exit-codes": exit_codes}
