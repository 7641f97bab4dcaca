"""What a server error means, whichever driver reports it."""

import socket

import asyncpg
import psycopg
import pytest

from crm_sync.adoption import migrations
from crm_sync.errors import (
    ConfigurationError,
    CrmSyncError,
    DatabaseTroubleError,
    ForbiddenError,
    LockedError,
    RowRefusedError,
    StatementRefusedError,
)
from crm_sync.postgres.pooler import LEADS_THROUGH
from crm_sync.postgres.sqlstates import Fault, fault_of
from crm_sync.postgres.translation import translate
from crm_sync.reports.rights import with_advice

CASES = {
    "08006": Fault.PASSES,
    "28P01": Fault.PASSES,  # a wrong password
    "40P01": Fault.PASSES,
    "53300": Fault.PASSES,
    "55P03": Fault.PASSES,
    "57P01": Fault.PASSES,
    "58030": Fault.PASSES,
    "26000": Fault.POOLER,
    "42P05": Fault.POOLER,
    "3D000": Fault.PERSON,
    "3F000": Fault.PERSON,
    "42501": Fault.PERSON,
    "42P01": Fault.PERSON,
    "21000": Fault.ROW,
    "22012": Fault.ROW,
    "23505": Fault.ROW,
    "27000": Fault.ROW,
    "38001": Fault.ROW,
    "39P01": Fault.ROW,
    "44000": Fault.ROW,
    "54000": Fault.ROW,
    "P0001": Fault.ROW,
    "0A000": Fault.UNEXPECTED,  # a stale plan, but also features that a server lacks
    "25006": Fault.UNEXPECTED,  # a standby
    "2BP01": Fault.UNEXPECTED,
    "XX000": Fault.UNEXPECTED,
}
TO_A_WORKER = {Fault.POOLER: ConfigurationError, Fault.PERSON: StatementRefusedError, Fault.ROW: RowRefusedError}
TO_A_CHANGE = {Fault.PASSES: DatabaseTroubleError}


OF_ITS_OWN = {"55P03": LockedError, "42501": ForbiddenError}


@pytest.mark.parametrize(("state", "fault"), CASES.items())
def test_each_class_is_somebodys(state, fault):
    assert fault_of(state, "") is fault


def test_where_there_is_no_state_nothing_is_known():
    assert fault_of(None, "connection refused") is Fault.UNEXPECTED


@pytest.mark.parametrize(("state", "fault"), CASES.items())
def test_a_worker_waits_for_what_no_person_has_to_put_right(state, fault):
    expected = OF_ITS_OWN.get(state, TO_A_WORKER.get(fault, DatabaseTroubleError))
    assert type(translate(asyncpg.PostgresError.new({"C": state, "M": "said"}))) is expected


def said_by(source: str, state: str, context: str = "") -> Exception:
    """As the driver reads it from the server."""
    return translate(asyncpg.PostgresError.new({"C": state, "M": "ada@example.com stays", "R": source, "W": context}))


@pytest.mark.parametrize("state", CASES)
def test_what_a_trigger_raises_is_about_its_row_whatever_sqlstate_it_chooses(state):
    error = said_by("exec_stmt_raise", state, "PL/pgSQL function public.keep() line 3 at RAISE")
    assert type(error) is RowRefusedError
    assert str(error) == f"a function or trigger refused it; Postgres's own log has the message (SQLSTATE {state})"


def test_what_our_own_functions_raise_is_what_its_sqlstate_says():
    context = "PL/pgSQL function crm_sync.watch(text,text[]) line 20 at RAISE"
    assert type(said_by("exec_stmt_raise", "42703", context)) is StatementRefusedError


def test_a_policy_that_does_not_allow_a_row_is_about_that_row():
    assert type(said_by("ExecWithCheckOptions", "42501")) is RowRefusedError
    assert type(said_by("aclcheck_error", "42501")) is ForbiddenError


@pytest.mark.parametrize("source", ["GetNewTransactionId", "GetNewMultiXactId"])
def test_a_server_without_transaction_ids_is_waited_for(source):
    """Its SQLSTATE is that of a value too large for an index."""
    assert type(said_by(source, "54000")) is DatabaseTroubleError
    assert type(said_by("index_form_tuple", "54000")) is RowRefusedError


@pytest.mark.parametrize(("state", "fault"), CASES.items())
def test_a_change_of_definitions_waits_for_what_passes_only(state, fault):
    with pytest.raises(CrmSyncError) as caught, migrations.translated():
        raise psycopg.errors.lookup(state)("said")
    assert type(caught.value) is TO_A_CHANGE.get(fault, ConfigurationError)


def test_a_server_that_is_away_is_waited_for():
    with pytest.raises(DatabaseTroubleError), migrations.translated():
        raise psycopg.OperationalError("connection failed")


@pytest.mark.parametrize("state", ["26000", "42P05", "08P01"])
def test_a_pooler_is_named_by_both(state):
    said = "unsupported startup parameter: jit"
    assert LEADS_THROUGH in str(translate(asyncpg.PostgresError.new({"C": state, "M": said})))
    with pytest.raises(ConfigurationError) as caught, migrations.translated():
        raise psycopg.errors.lookup(state)(said)
    assert LEADS_THROUGH in str(caught.value)


@pytest.mark.parametrize(
    ("error", "asks"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('::1', 5432)"), "right host and port?"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432, 0, 0), [Errno 111] x"),
            "right host and port?",
        ),
        (FileNotFoundError(2, "No such file or directory"), "right host and port?"),
        (socket.gaierror(-2, "Name or service not known"), "spelt right?"),
        (ConnectionResetError(104, "Connection reset by peer"), None),
    ],
)
def test_a_server_that_is_not_where_the_setting_says_is_a_question_about_it(error, asks):
    said = str(translate(error))
    assert isinstance(translate(error), DatabaseTroubleError)
    assert said.endswith(asks or "Connection reset by peer")
    assert (asks is None) == ("DATABASE_URL" not in said)


@pytest.mark.parametrize("kind", [asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError])
def test_a_login_that_is_refused_is_a_question_about_the_setting(kind):
    refused = translate(kind('role "nobody" does not exist'))
    assert isinstance(refused, DatabaseTroubleError)
    assert str(refused).startswith('role "nobody" does not exist')
    assert str(refused).endswith("Are user and password of DATABASE_URL (or LISTEN_DATABASE_URL) right?")


def test_a_database_that_does_not_exist_is_named_with_the_setting_and_not_with_a_migration():
    refusal = asyncpg.InvalidCatalogNameError('database "nodb" does not exist')
    error = translate(refusal)
    error.__cause__ = refusal
    assert with_advice(error).endswith('database "nodb" does not exist: create it, or correct its name there')
