"""Errors of the driver, the server and the network, in our words."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import asyncpg

from crm_sync.core.text import clean
from crm_sync.errors import (
    ConfigurationError,
    DatabaseTroubleError,
    ForbiddenError,
    LockedError,
    RowRefusedError,
    StatementRefusedError,
    TooSlowError,
    UnreadableError,
)
from crm_sync.postgres.driver_arguments import SETTING
from crm_sync.postgres.pooler import LEADS_THROUGH
from crm_sync.postgres.sqlstates import QUOTES_NO_VALUES, Fault, fault_of, foreign_function, is_raised

WRITABLE = "what writes needs the primary in DATABASE_URL, and default_transaction_read_only off"
AT_LOGIN = (
    "an event trigger on login keeps this role out of the database ({said}). Let a superuser change the trigger, or disable it: "
    "\\dy in psql lists event triggers, and PGOPTIONS='-c event_triggers=off' lets him in"
)
_WORD = re.compile(r"[A-Z][a-z]*")  # in the name of a class
_OF_OURS = " crm_sync."  # in the first line of a context, before the name of a function


def reason(error: BaseException) -> str:
    """What went wrong, without the values that Postgres quotes in the details."""
    text = error.args[0] if isinstance(error, asyncpg.PostgresError) and error.args else error
    return clean(str(text)) or type(error).__name__


def _kind(error: asyncpg.PostgresError) -> str:
    """What went wrong, if the message itself can quote a row: its kind, and the constraint or column in question."""
    constraint, column = getattr(error, "constraint_name", None), getattr(error, "column_name", None)
    where = f", constraint {constraint}" if constraint else f", column {column}" if column else ""
    named = "a function or trigger refused it" if _is_raised(error) else _named(type(error))
    return f"{named}{where}; Postgres's own log has the message"


def _named(kind: type[asyncpg.PostgresError]) -> str:
    """Postgres's name of the condition, after which the driver's classes are called: division by zero."""
    return _WORD.sub(lambda word: f" {word[0].lower()}", kind.__name__.removesuffix("Error")).strip()


def _source(error: asyncpg.PostgresError) -> str | None:
    """The server's function that reported it; None for what crm-sync's own functions raise, which choose a fitting SQLSTATE."""
    source: str | None = getattr(error, "server_source_function", None)
    ours = _OF_OURS in str(getattr(error, "context", None) or "").partition("\n")[0]
    return None if ours else source


def in_function(context: str | None) -> str:
    """The application's function that is at fault, for the end of a message; empty if none is."""
    function = foreign_function(context)
    return f", in {function}(), a function of this database, as a trigger or an event trigger has" if function else ""


def _is_raised(error: asyncpg.PostgresError) -> bool:
    return isinstance(error, asyncpg.RaiseError) or is_raised(_source(error))


def translate(error: Exception) -> Exception:
    """The error of a driver, server or network as one of ours; anything else is returned unchanged."""
    if isinstance(error, asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError) and not _is_raised(error):
        kind = TooSlowError if isinstance(error, asyncpg.QueryCanceledError) else LockedError
        # There is a context only where a function or trigger was at work, not where a statement of ours waits for its table.
        inside = bool(getattr(error, "context", None))
        where = " in a function or trigger" if inside else ""
        return kind(f"{reason(error)}{where} (SQLSTATE {error.sqlstate})", of_a_row=inside)
    if isinstance(error, asyncpg.PostgresError):
        return _at_the_door(error) or _of_the_server(error, getattr(error, "sqlstate", None) or "")
    if isinstance(error, TimeoutError):
        return DatabaseTroubleError("the database did not answer in time")
    if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        is_asked_wrongly = isinstance(error, asyncpg.exceptions.ClientConfigurationError)
        return ConfigurationError(f"{SETTING}: {reason(error)}") if is_asked_wrongly else DatabaseTroubleError(_asked(error))
    return _from_inside(error) if _is_of_the_driver(error) else error


def _from_inside(error: Exception) -> Exception:
    """An error in the driver's code that is not one of the driver's classes."""
    if isinstance(error, ValueError | OverflowError):
        return UnreadableError(
            "the database has a value that cannot be read here, such as a date before the year 1 or after 9999"
        )
    if isinstance(error, AttributeError) and error.obj is None:
        # asyncpg 0.32 drops its protocol when a connection is terminated, and then uses None in the statement in flight.
        return DatabaseTroubleError("the connection was closed between two messages of one statement")
    return error


def _asked(error: Exception) -> str:
    """The reason. If there was no connection yet, with a question about the setting that leads there."""
    if isinstance(error, socket.gaierror):
        return f"{reason(error)}. Is the host of {SETTING} spelt right?"
    # The event loop tells of several addresses in one error without a number.
    if isinstance(error, ConnectionRefusedError | FileNotFoundError) or "Connect call failed" in str(error):
        return f"{reason(error)}. Does Postgres run there, and has {SETTING} the right host and port?"
    return reason(error)


def _is_of_the_driver(error: Exception) -> bool:
    """Whether it was raised in the driver's code."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__", "")).startswith("asyncpg.")


def _at_the_door(error: asyncpg.PostgresError) -> Exception | None:
    """What the setting that leads to the database has wrong, or who keeps us out of it."""
    if _is_at_login(error):
        return DatabaseTroubleError(AT_LOGIN.format(said=f"{reason(error)}, SQLSTATE {error.sqlstate}"))
    if _is_raised(error):
        return None
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StatementRefusedError(f"{SETTING}: {reason(error)}: create it, or correct its name there")
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return DatabaseTroubleError(f"{reason(error)} (SQLSTATE {error.sqlstate}). Are user and password of {SETTING} right?")
    return None


def _is_at_login(error: asyncpg.PostgresError) -> bool:
    """Whether a function has failed or raised while the session began. Later, that does not end a session."""
    is_fatal = getattr(error, "severity_en", None) == "FATAL" and bool(getattr(error, "context", None))
    return is_fatal and fault_of(error.sqlstate, str(error), _source(error)) is not Fault.PASSES


def _of_the_server(error: asyncpg.PostgresError, state: str) -> Exception:
    match fault_of(state, str(error), _source(error)):
        case Fault.POOLER:
            return ConfigurationError(f"{LEADS_THROUGH} ({reason(error)}, SQLSTATE {state})")
        case Fault.ROW:
            quotes_values = _is_raised(error) or not state.startswith(QUOTES_NO_VALUES)
            return RowRefusedError(f"{_kind(error) if quotes_values else reason(error)} (SQLSTATE {state})")
        case Fault.PERSON:
            kind = ForbiddenError if isinstance(error, asyncpg.InsufficientPrivilegeError) else StatementRefusedError
            where = in_function(getattr(error, "context", None))
            return kind(f"the database refused a statement: {reason(error)} (SQLSTATE {state}){where}")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        # Not "the database is": a preview reads in such a transaction by itself.
        return DatabaseTroubleError(f"{reason(error)} (SQLSTATE {state}): {WRITABLE}")
    return DatabaseTroubleError(f"{reason(error)} (SQLSTATE {state})")


def in_our_words(error: Exception) -> BaseException:
    """As translate. But a task that is cancelled ends, whatever came of its statement at the same time."""
    if (task := asyncio.current_task()) is not None and task.cancelling():
        return asyncio.CancelledError()
    return translate(error)


def raise_in_our_words(error: Exception) -> NoReturn:
    """Raises it; one that is not the driver's, unchanged."""
    ours = in_our_words(error)
    if ours is error:
        raise error
    raise ours from error


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raises the errors of the driver in our words: see in_our_words."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (raised again)
        raise_in_our_words(error)
