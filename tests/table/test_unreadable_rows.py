"""A row that the mapping or the table itself refuses: it gets a reason, and holds up no other."""

import asyncio

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.outcome import Kind, Outcome
from crm_sync.core.waits import Waits
from crm_sync.errors import RowRefusedError
from crm_sync.table import avoided
from tests.harness import TIMEOUT_S, ScriptedCrm, running, until, until_asleep
from tests.steps import insert, orphan, pair, read
from tests.tiers import one_quick, slow

OTHERS = 99
LINE_UP = (
    "INSERT INTO contacts (email, first_name, brevo_sync_status) "
    "SELECT n || '@example.com', '1', 'Queued' FROM generate_series(1, $1::integer) AS n"
)
OTHERS_COMPLETE = "bool_and(brevo_sync_status = 'Complete') FROM contacts WHERE email <> 'ada@example.com'"
NOBODY_TOUCHES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ada@example.com must stay as she is';
END
$$;
CREATE TRIGGER refuse BEFORE UPDATE ON contacts
FOR EACH ROW WHEN (OLD.email = 'ada@example.com' {when}) EXECUTE FUNCTION refuse();
"""
THEY_ARE_TOUCHED_AGAIN = "DROP TRIGGER refuse ON contacts"


@pytest.fixture
def crm() -> ScriptedCrm:
    return ScriptedCrm()


@pytest.fixture
def mapping(tmp_path):
    file = tmp_path / "mapping.toml"
    file.write_text('[brevo]\nLASTNAME = "last_name"\nSHARE = "100 / first_name::integer"\n')
    return file


@pytest.mark.parametrize("case", [("0", "division by zero; "), ("Ada", "invalid text representation; ")])
async def test_a_contact_that_the_mapping_fails_for_is_in_error_with_the_field_and_the_others_go_on(app, url, crm, mapping, case):
    first_name, kind = case
    await app.execute(LINE_UP, OTHERS)
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET first_name = $2 WHERE id = $1", contact, first_name)
    async with running(url, crm, mapping_file=mapping):
        await until(app, OTHERS_COMPLETE)
        await until(app, "brevo_sync_status = 'Error' FROM contacts WHERE email = 'ada@example.com'")
        row = await read(app, contact)
        assert row["processing_error"].startswith(f"MAPPING_FAILED: SHARE: {kind}")
        assert row["claimed_by"] is row["due_at"] is None
        assert len(crm.store) == OTHERS
        await app.execute("UPDATE contacts SET first_name = '4', brevo_sync_status = 'Queued' WHERE id = $1", contact)
        await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE email = 'ada@example.com'")
    assert crm.store[contact]["SHARE"] == 25


async def test_of_many_that_the_mapping_fails_for_each_has_its_reason(app, url, crm, mapping):
    await app.execute(LINE_UP, 300)
    await app.execute("UPDATE contacts SET first_name = '0' WHERE email ~ '[05]@'")
    async with running(url, crm, mapping_file=mapping):
        await until(app, "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts")
    failed = "count(*) FILTER (WHERE brevo_processing_error LIKE 'MAPPING_FAILED: SHARE: %' AND first_name = '0') FROM contacts"
    assert await app.fetchval(f"SELECT {failed}") == 60
    assert len(crm.store) == 240


@pytest.mark.parametrize(
    "constraint",
    [
        "CREATE UNIQUE INDEX one_record ON contacts (brevo_contact_id)",
        "ALTER TABLE contacts ADD CONSTRAINT one_record CHECK (brevo_contact_id <> 'taken')",
    ],
    ids=["unique", "check"],
)
async def test_an_id_that_the_table_does_not_take_is_an_error_of_that_contact(app, url, crm, constraint):
    await app.execute(constraint)
    await app.execute(
        "INSERT INTO contacts (email, brevo_contact_id) VALUES ('bob@example.com', 'taken')"
        if "UNIQUE" in constraint
        else "SELECT"
    )
    crm.answer = lambda contact: Outcome.delivered("taken" if contact.email == "ada@example.com" else f"crm-{contact.id}")
    async with running(url, crm):
        await until_asleep(app)
        await app.execute(LINE_UP, OTHERS)
        contact = await insert(app, "Queued")
        await until(app, f"{OTHERS_COMPLETE} AND email <> 'bob@example.com'")
        await until(app, "brevo_sync_status = 'Error' FROM contacts WHERE email = 'ada@example.com'")
    row = await read(app, contact)
    assert row["processing_error"].startswith("ROW_REFUSED: ")
    assert "constraint one_record" in row["processing_error"]
    assert (row["contact_id"], row["claimed_by"]) == (None, None)


async def test_a_row_that_takes_no_claim_holds_nobody_up_and_is_delivered_once_it_does(app, url, crm):
    contact = await insert(app, "Queued")
    await app.execute(NOBODY_TOUCHES.format(when=""))
    with capture_logs() as log:
        async with running(url, crm, waits=Waits(avoid_row_s=0.2, tick_s=0.2)):
            await app.execute(LINE_UP, OTHERS)
            await until(app, OTHERS_COMPLETE)
            assert await pair(app, contact) == ("Queued", "Queued")
            await app.execute(THEY_ARE_TOUCHED_AGAIN)
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    told = [entry for entry in log if entry["event"] == events.CONTACT_REFUSED]
    assert told
    assert {entry["contact"] for entry in told} == {str(contact)}
    assert "a function or trigger refused it; " in told[0]["reason"]
    assert "example.com" not in str(log)


@pytest.mark.parametrize("state", ["40001", "42501", "55P03", "57014"])
@pytest.mark.parametrize("when", ["", "AND OLD.brevo_claimed_by IS NOT NULL"], ids=["claim", "finish"])
async def test_so_does_one_whose_trigger_chooses_an_sqlstate_of_its_own(app, url, crm, state, when):
    """That of a conflict, a right, a lock, a timeout: read as such, it would stop the lane."""
    await app.execute(NOBODY_TOUCHES.format(when=when).replace("is';", f"is' USING ERRCODE = '{state}';"))
    with capture_logs() as log:
        async with running(url, crm):
            await insert(app, "Queued")
            await app.execute(LINE_UP, OTHERS)
            await until(app, OTHERS_COMPLETE)
    assert "example.com" not in str(log)


GUARDED = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.brevo_claimed_by := OLD.brevo_claimed_by;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE UPDATE ON contacts FOR EACH ROW WHEN (OLD.email = 'ada@example.com') EXECUTE FUNCTION guard();
"""


@pytest.mark.parametrize(
    "beside", ["", NOBODY_TOUCHES.format(when="").replace("'ada@", "'bob@")], ids=["", "beside a refused one"]
)
async def test_a_contact_whose_claim_a_trigger_takes_back_is_not_sent(app, url, crm, beside):
    """Without its claim it could not be finished, and would be sent without end."""
    contact = await insert(app, "Queued")
    await app.execute(GUARDED)
    if beside:
        await insert(app, "Queued", "bob@example.com")
        await app.execute(beside)
    with capture_logs() as log:
        async with running(url, crm):
            await app.execute(LINE_UP, OTHERS)
            await until(app, f"{OTHERS_COMPLETE} AND email <> 'bob@example.com'")
            await until_asleep(app)
            await said_of(log, contact)
    assert len(crm.store) == OTHERS
    reasons = [entry["reason"] for entry in log if entry["event"] == events.CONTACT_REFUSED and entry["contact"] == str(contact)]
    triggers = "triggers guard, refuse" if beside else "trigger guard"
    told = f"a trigger of the table takes the claim back: it changes a column that only workers write. Look at its {triggers}"
    assert reasons == [told]


async def test_a_row_that_takes_no_claim_is_left_alone_for_a_minute_and_no_statement_is_spent_on_it(app, url, crm):
    await insert(app, "Queued")
    await app.execute(NOBODY_TOUCHES.format(when=""))
    with capture_logs() as log:
        async with running(url, crm):
            await app.execute(LINE_UP, OTHERS)
            await until(app, OTHERS_COMPLETE)
            await until_asleep(app)
            assert len([entry for entry in log if entry["event"] == events.CONTACT_REFUSED]) == 1


MANY = 400  # 2,000 take five times as long, and show the same


@pytest.mark.parametrize("refused", one_quick([MANY, 2000]))
async def test_many_rows_that_take_no_claim_starve_nobody_behind_them(app, url, crm, refused):
    """As if a trigger had been added to the table while they waited."""
    await app.execute(LINE_UP, refused)
    await app.execute("UPDATE contacts SET first_name = 'refused'")
    await app.execute(NOBODY_TOUCHES.replace("OLD.email = 'ada@example.com' {when}", "OLD.first_name = 'refused'"))
    good = "brevo_sync_status = 'Complete') FROM contacts WHERE first_name = '1'"
    await app.execute(LINE_UP.replace("n ||", "'good' || n ||"), refused // 2)
    with capture_logs() as log:
        async with running(url, crm, waits=Waits(avoid_row_s=3600.0)):
            await until(app, f"bool_and({good}")
            fresh = await insert(app, "Queued", "fresh@example.com")
            await until(app, "brevo_sync_status = 'Complete' FROM contacts WHERE id = $1", fresh)
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == refused
    told = [entry for entry in log if entry["event"] == events.CONTACT_REFUSED]
    assert sum(entry.get("contacts", 1) for entry in told) == refused
    assert len(told) <= refused / 20, "a line for each look, not for each row"


async def test_beside_a_refused_row_it_is_known_who_was_put_back_in_line(app, worker):
    """Others with its address may have overtaken it, so a claim by key says so, too."""
    again = await insert(app, "Queued", "again@example.com")
    (claimed,) = await worker.claim()
    await worker.finish(claimed, Kind.DEFERRED)
    fresh = await insert(app, "Queued", "fresh@example.com")
    await insert(app, "Queued")
    await app.execute(NOBODY_TOUCHES.format(when=""))
    assert {contact.id: contact.late for contact in await worker.claim()} == {again: True, fresh: False}


def test_a_row_that_is_refused_again_is_left_alone_for_twice_as_long(monkeypatch):
    now = 0.0
    monkeypatch.setattr(avoided.time, "monotonic", lambda: now)
    rows = avoided.Avoided("brevo", 60.0)
    waits = []
    for _ in range(12):
        rows.add({"a": RowRefusedError("no")})
        began = now
        while rows.ids():
            now += 30.0
        waits.append(now - began)
    assert waits[:4] == [60.0, 120.0, 240.0, 480.0]
    assert waits[-1] == avoided.LONGEST_S
    rows.discard("a")
    rows.add({"a": RowRefusedError("no")})
    assert rows.ids() == ["a"]
    now += 60.0
    assert rows.ids() == []
    assert not rows, "none of them is claimed"


async def test_a_row_that_takes_no_finish_holds_nobody_up_and_comes_again_once_it_does(app, url, crm):
    await app.execute(NOBODY_TOUCHES.format(when="AND OLD.brevo_claimed_by IS NOT NULL"))
    # The refusal of a finish is written later: if the trigger were dropped in between, it would be accepted.
    taken = NOBODY_TOUCHES.replace("refuse", "refuse_errors")
    await app.execute(taken.format(when="AND NEW.brevo_processing_error LIKE 'ROW_REFUSED: %'"))
    with capture_logs() as log:
        async with running(url, crm, waits=Waits(tick_s=0.2)):
            await until_asleep(app)
            contact = await insert(app, "Queued")
            await app.execute(LINE_UP, OTHERS)
            await until(app, OTHERS_COMPLETE)
            await said_of(log, contact)
            assert await pair(app, contact) == ("Processing", "Processing")
            await app.execute(THEY_ARE_TOUCHED_AGAIN)
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert len(crm.requests) <= OTHERS + 2
    assert "example.com" not in str(log)


async def test_an_orphan_that_takes_no_finish_keeps_no_worker_from_starting(app, url, crm):
    contact = await insert(app, "Queued")
    dead = await orphan(app)
    await app.execute(NOBODY_TOUCHES.format(when=""))
    async with running(url, crm):
        await app.execute(LINE_UP, OTHERS)
        await until(app, OTHERS_COMPLETE)
        assert await pair(app, contact) == ("Processing", "Processing")
        assert await app.fetchval("SELECT count(*) FROM crm_sync.workers WHERE id = $1", dead) == 1, "it must not be forgotten"


async def test_a_stray_that_the_table_lets_nobody_line_up_keeps_no_other_from_it(app, url, crm):
    await app.execute("SET session_replication_role = replica")
    await app.execute(LINE_UP, 3000)
    await insert(app, "Queued")
    await app.execute("SET session_replication_role = origin")
    await app.execute(NOBODY_TOUCHES.format(when=""))
    async with running(url, crm):
        await until(app, "count(*) FILTER (WHERE brevo_sync_status = 'Complete') >= 2900 FROM contacts")
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") < 100, "its page"


# A slow one.

SLOW = '[brevo]\nLASTNAME = "last_name"\nSHARE = "pg_sleep(first_name::float8)::text || first_name"\n'


@slow
@pytest.mark.parametrize("behind_pooler", [False, True])
async def test_a_contact_that_the_mapping_takes_for_ever_for_is_in_error_with_the_field(app, url, crm, mapping, behind_pooler):
    mapping.write_text(SLOW)
    await app.execute(LINE_UP.replace("'1', 'Queued'", "'0', 'Queued'"), OTHERS)
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET first_name = '60' WHERE id = $1", contact)
    # Other claims skip what an earlier claim still holds in the server.
    waits = Waits(statement_timeout_s=1.0, tick_s=0.2, forget_worker_s=2.0)
    async with running(url, crm, mapping_file=mapping, waits=waits, database_behind_pooler=behind_pooler):
        await until(app, OTHERS_COMPLETE)
        await until(app, "brevo_sync_status = 'Error' FROM contacts WHERE email = 'ada@example.com'")
    error = (await read(app, contact))["processing_error"]
    assert error.startswith("MAPPING_FAILED: SHARE: it takes longer than 0.2 s for this contact")


@slow
async def test_many_that_the_mapping_takes_for_ever_for_starve_nobody_behind_them(app, url, crm, mapping):
    """Each claim names one, and puts the others back behind the good ones."""
    mapping.write_text(SLOW)
    await app.execute(LINE_UP.replace("'1', 'Queued'", "'60', 'Queued'"), 60)
    await app.execute(LINE_UP.replace("n || '@example.com', '1'", "'good' || n || '@example.com', '0'"), OTHERS)
    async with running(url, crm, mapping_file=mapping, waits=Waits(statement_timeout_s=0.5, tick_s=0.2)):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts WHERE first_name = '0'")
        named = await app.fetchval(
            "SELECT count(*) FROM contacts WHERE brevo_processing_error LIKE 'MAPPING_FAILED: SHARE: it takes%'"
        )
    assert 0 < named < 30, "half of them are still to be read"


@slow
async def test_a_mapping_that_is_slow_for_every_contact_is_slow_and_fails_for_none(app, url, crm, mapping):
    mapping.write_text(SLOW)
    await app.execute(LINE_UP.replace("'1', 'Queued'", "'0.05', 'Queued'"), OTHERS)
    with capture_logs() as log:
        async with running(url, crm, mapping_file=mapping, waits=Waits(statement_timeout_s=1.0, tick_s=0.2)):
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    # On a busy machine such a short timeout may cost the session; it must not cost a claim.
    reasons = [entry["reason"] for entry in log if entry["event"] == events.DATABASE_TROUBLE]
    assert [reason for reason in reasons if reason != "the session is lost"] == []


# A slow or locked trigger.

QUICK = Waits(statement_timeout_s=1.0, claim_patience_s=0.2, tick_s=0.2)
AT = pytest.mark.parametrize(
    "when", ["AND NEW.brevo_claimed_by IS NOT NULL", "AND OLD.brevo_claimed_by IS NOT NULL"], ids=["claim", "finish"]
)


def takes(body: str, when: str) -> str:
    return NOBODY_TOUCHES.format(when=when).replace(
        "RAISE EXCEPTION 'ada@example.com must stay as she is';", f"{body} RETURN NEW;"
    )


@slow
@AT
async def test_a_contact_that_a_trigger_takes_for_ever_for_holds_nobody_up(app, url, crm, when):
    await app.execute(takes("PERFORM pg_sleep(60);", when))
    contact = await insert(app, "Queued")
    await app.execute(LINE_UP, OTHERS)
    with capture_logs() as log:
        async with running(url, crm, waits=QUICK):
            await until(app, OTHERS_COMPLETE)
            await said_of(log, contact)
    reasons = [entry["reason"] for entry in log if entry["event"] == events.CONTACT_REFUSED]
    assert reasons == ["canceling statement due to statement timeout in a function or trigger (SQLSTATE 57014)"]


@AT
async def test_nor_does_one_whose_trigger_finds_something_locked(app, other_app, url, crm, when):
    await app.execute("CREATE TABLE companies (id int); INSERT INTO companies VALUES (1)")
    await app.execute("GRANT SELECT, UPDATE ON companies TO PUBLIC")
    await app.execute(takes("PERFORM FROM public.companies FOR UPDATE NOWAIT;", when))
    async with running(url, crm, waits=QUICK), other_app.transaction():
        await other_app.execute("SELECT FROM companies FOR UPDATE")
        await insert(app, "Queued")
        await app.execute(LINE_UP, OTHERS)
        await until(app, OTHERS_COMPLETE)


@slow
async def test_a_trigger_that_is_slow_for_every_contact_is_slow_and_refuses_none(app, url, crm):
    await app.execute(takes("PERFORM pg_sleep(0.05);", "").replace("OLD.email = 'ada@example.com'", "TRUE"))
    await app.execute(LINE_UP, OTHERS)
    with capture_logs() as log:
        async with running(url, crm, waits=QUICK):
            await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert [entry for entry in log if entry["event"] == events.CONTACT_REFUSED] == []


@slow
async def test_while_the_table_is_locked_no_contact_is_refused_for_it(app, other_app, url, crm):
    """As by CREATE INDEX: a claim waits for as long as it may, and so does the one with care."""
    await app.execute(LINE_UP, OTHERS)
    with capture_logs() as log:
        async with other_app.transaction():
            await other_app.execute("LOCK TABLE contacts IN SHARE MODE")
            async with running(url, crm, waits=QUICK):
                await told(log, "canceling statement due to statement timeout (SQLSTATE 57014)")
                await other_app.execute("COMMIT; BEGIN")
                await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert [entry for entry in log if entry["event"] == events.CONTACT_REFUSED] == []


async def told(log, reason: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not any(entry.get("reason") == reason for entry in log):  # noqa: ASYNC110 (a log has no events)
            await asyncio.sleep(0.01)


async def said_of(log, contact) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not any(entry["event"] == events.CONTACT_REFUSED and entry["contact"] == str(contact) for entry in log):  # noqa: ASYNC110 (a log has no events)
            await asyncio.sleep(0.01)
