"""Every answer to "why is this person not in the CRM", brought about for real: by applications, workers and a scripted CRM."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Outcome
from crm_sync.core.rate import parse
from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from crm_sync.errors import NotSentError, ThrottledError
from tests.harness import ScriptedCrm, account, configured, driven, running, until
from tests.roles import as_worker
from tests.steps import orphan

ADDRESS = "ada@example.com"
KEY = "2d1e0a1c-0000-4000-8000-00000000000{}"
QUICK = Waits(report_s=0.01, tick_s=0.2, first_probe_s=60.0, longest_probe_s=60.0)


@dataclass(frozen=True)
class Stage:
    """app and other: two sessions of the application. tmp_path: for files."""

    app: asyncpg.Connection
    other: asyncpg.Connection
    url: str
    tmp_path: Any

    async def contact(self, status: str = "Queued", number: int = 1, email: str = ADDRESS) -> str:
        """Its key."""
        key = KEY.format(number)
        await self.app.execute(
            "INSERT INTO contacts (id, email, first_name, brevo_sync_status) VALUES ($1, $2, 'Ada', $3)", key, email, status
        )
        return key

    async def flip(self, key: str, status: str = "Queued") -> None:
        await self.app.execute("UPDATE contacts SET brevo_sync_status = $2 WHERE id = $1", key, status)

    async def lane_is_told(self) -> None:
        await until(self.app, "count(*) > 0 FROM crm_sync.progress WHERE crm = 'brevo'")

    async def status_is(self, status: str) -> None:
        await until(self.app, "bool_and(brevo_sync_status = $1 AND brevo_claimed_by IS NULL) FROM contacts", status)


class Failing(ScriptedCrm):
    """error: for every request; None: none."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def deliver(self, contacts: Any) -> Any:
        if self.error is not None:
            raise self.error
        return await super().deliver(contacts)


Bring = Callable[[Stage], AbstractAsyncContextManager[str]]


@dataclass(frozen=True)
class Situation:
    """bring: brings it about, and yields the contact's key. sentence: a pattern of the answer. in_manual: its heading."""

    name: str
    bring: Bring
    verdict: str
    because: str | None
    sentence: str
    in_manual: str | None = None


SITUATIONS: list[Situation] = []


def situation(verdict: str, because: str | None, sentence: str, in_manual: str | None = None) -> Callable[[Any], Any]:
    def note(function: Callable[[Stage], AsyncIterator[str]]) -> Any:
        bring = asynccontextmanager(function)
        SITUATIONS.append(Situation(function.__name__, bring, verdict, because, sentence, in_manual))
        return bring

    return note


@asynccontextmanager
async def answered(stage: Stage, answer: Callable[[Any], Outcome], **crm: Any) -> AsyncIterator[ScriptedCrm]:
    scripted = ScriptedCrm(**crm)
    scripted.answer = answer
    async with running(stage.url, scripted, waits=QUICK):
        yield scripted


# Never asked for, withdrawn.


@situation("never asked for", None, r"Nobody has asked for it here: its status is New\.", "Nobody has asked for it")
async def new(stage: Stage) -> AsyncIterator[str]:
    yield await stage.contact("New")


@situation("never asked for", None, r"It was marked \(Selected\), but not asked for: only Queued sends it\.")
async def selected(stage: Stage) -> AsyncIterator[str]:
    yield await stage.contact("Selected")


@situation("never asked for", None, r"It is not wanted here: its status is Skipped\.")
async def skipped(stage: Stage) -> AsyncIterator[str]:
    yield await stage.contact("Skipped")


@situation(
    "never asked for",
    None,
    r"its status is New; a transaction(?: of the app)? \(pid \d+(?:, open since .*)?\) has written to its row or locked it, "
    r"and what it writes is not seen before it commits\.",
    "The flip is not committed",
)
async def uncommitted(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact("New")
    await stage.other.execute("SET application_name = 'the app'")
    async with stage.other.transaction():
        await stage.other.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        yield key


@situation("withdrawn", None, r"It was flipped .*, and withdrawn \(Skipped\) before it was delivered\.", "It was withdrawn")
async def withdrawn(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await stage.flip(key, "Skipped")
    yield key


@situation(
    "unseen",
    "full look",
    r"no trigger saw the flip: a worker puts it there when it looks through the whole table, by default every 15 minutes\.",
)
async def unseen(stage: Stage) -> AsyncIterator[str]:
    await stage.app.execute("SET session_replication_role = replica")
    yield await stage.contact()
    await stage.app.execute("RESET session_replication_role")


@situation("unseen", "trigger", r"the triggers on the contacts table are off or missing: no flip is seen\.")
async def trigger_off(stage: Stage) -> AsyncIterator[str]:
    await stage.app.execute("ALTER TABLE contacts DISABLE TRIGGER ALL")
    yield await stage.contact()


@situation("other", None, r"It has no status here: nobody has asked for it\.")
async def no_status(stage: Stage) -> AsyncIterator[str]:
    await stage.app.execute("ALTER TABLE contacts ALTER COLUMN brevo_sync_status DROP NOT NULL")
    yield await stage.contact(None)  # type: ignore[arg-type]


# In line: all contacts of the CRM wait.


@situation("in line", "no worker", r"It has waited since its flip at .*: no worker is running\.", "No worker runs")
async def no_worker(stage: Stage) -> AsyncIterator[str]:
    yield await stage.contact()


@situation("in line", "no worker", r"It was delivered .*, and has waited since .* to be sent once more: no worker")
async def sent_again(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await stage.app.execute(
        "UPDATE contacts SET brevo_flipped_at = brevo_due_at - interval '2 s', brevo_synced_at = brevo_due_at - interval '1 s'"
    )
    yield key


@situation("in line", "paused", r"brevo is paused by hand since .*: key rotation\.", "The CRM is paused")
async def paused(stage: Stage) -> AsyncIterator[str]:
    async with running(stage.url, ScriptedCrm(), waits=QUICK):
        await stage.lane_is_told()
        await stage.app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'key rotation' WHERE crm = 'brevo'")
        yield await stage.contact()


@situation(
    "in line",
    "down",
    r"brevo is down since .*: UNREACHABLE: no connection to the CRM; next probe in \d+ (?:s|min)\.",
    "The CRM is down",
)
async def down(stage: Stage) -> AsyncIterator[str]:
    crm = Failing(NotSentError(Code.UNREACHABLE, "no connection to the CRM"))
    key = await stage.contact()
    async with running(stage.url, crm, waits=QUICK):
        await until(stage.app, "breaker = 'open' FROM crm_sync.lanes WHERE crm = 'brevo'")
        await stage.status_is("Queued")
        yield key


@situation("in line", "throttled", r"brevo says too many requests since .*, next call in (1 min|5\d s)")
async def throttled(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    async with running(stage.url, Failing(ThrottledError(Code.RATE_LIMITED, "slow down", 60.0)), waits=QUICK):
        await until(stage.app, "breaker = 'throttled' FROM crm_sync.lanes WHERE crm = 'brevo'")
        await stage.status_is("Queued")
        yield key


@asynccontextmanager
async def configured_worker(
    stage: Stage, crm: str = "brevo", limits: str = "none", **settings: Any
) -> AsyncIterator[ScriptedCrm]:
    scripted = ScriptedCrm()
    of_crm = replace(account(scripted), windows=parse(limits))
    async with driven(Daemon(configured({crm: of_crm}, database_url=as_worker(stage.url), **settings), waits=QUICK)):
        yield scripted


@situation(
    "in line",
    "misconfigured",
    r"brevo gets no deliveries, because of this: .*nothing_like_it.*\.",
    "The mapping is wrong",
)
async def misconfigured(stage: Stage) -> AsyncIterator[str]:
    mapping = stage.tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "nothing_like_it"\n')
    key = await stage.contact()
    async with configured_worker(stage, mapping_file=mapping):
        await until(stage.app, "fault IS NOT NULL FROM crm_sync.lanes WHERE crm = 'brevo'")
        yield key


@situation("in line", "no lane", r"no worker that runs delivers to brevo: it has no credentials there, or has not said so yet\.")
async def no_lane(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    async with configured_worker(stage, "mautic"):
        await until(stage.app, "count(*) = 1 FROM crm_sync.progress WHERE crm = 'mautic'")
        yield key


@situation("misconfigured", "misconfigured", r"nor is any contact, because the contacts table has no column brevo_attempts\.")
async def column_gone(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await stage.app.execute("ALTER TABLE contacts RENAME COLUMN brevo_attempts TO tries")
    yield key


# In line: this contact waits.


@situation(
    "waiting",
    "retry",
    r"since its flip .*: attempt 1 failed with TIMEOUT: no answer within 20 s, and attempt 2 is due (?:at|on) .* \(in .*\)\.",
    "It is tried again later",
)
async def retry(stage: Stage) -> AsyncIterator[str]:
    await stage.contact("New", 2, "bob@example.com")
    key = await stage.contact()
    async with answered(
        stage,
        lambda contact: (
            Outcome.failed(Code.TIMEOUT, "no answer within 20 s") if contact.email == ADDRESS else Outcome.delivered("b")
        ),
    ):
        await until(stage.app, "brevo_processing_error IS NOT NULL FROM contacts WHERE id = $1", key)
        yield key


@situation(
    "in line",
    "locked",
    r"a transaction(?: of the app)? \(pid \d+(?:, open since .*)?\) has its row locked, and workers do not wait for locks\.",
    "The application has its row locked",
)
async def locked(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await stage.other.execute("SET application_name = 'the app'")
    async with stage.other.transaction():
        await stage.other.execute("SELECT FROM contacts FOR UPDATE")
        async with running(stage.url, ScriptedCrm(), waits=QUICK):
            await stage.lane_is_told()
            yield key


@situation("in line", "row refused", r"the contacts table refuses to have its row written: .*\.")
async def row_refused(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await stage.app.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'this one stays as it is' USING ERRCODE = 'check_violation'; END $$; "
        "CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    async with running(stage.url, ScriptedCrm(), waits=QUICK):
        await until(stage.app, "count(*) = 1 FROM crm_sync.progress WHERE refused <> '{}'")
        yield key


@situation(
    "in line",
    "full look",
    r"it has no entry in the line: a worker finds it when it looks through the whole table, by default every 15 minutes\.",
)
async def no_line(stage: Stage) -> AsyncIterator[str]:
    async with running(stage.url, ScriptedCrm(), waits=QUICK):
        await stage.lane_is_told()
        await until(stage.app, "bool_and(breaker = 'closed') FROM crm_sync.lanes")
        await stage.app.execute("UPDATE crm_sync.lanes SET held_since = now() WHERE crm = 'brevo'")
        key = await stage.contact()
        await stage.app.execute("DELETE FROM crm_sync.brevo_line")
        await stage.app.execute("UPDATE crm_sync.lanes SET held_since = NULL WHERE crm = 'brevo'")
        yield key


@situation(
    "in line",
    "daily limit",
    r"the limit of the account, 2 requests a day, is used up; brevo is called again at .* \(in .*\)\.",
    "The account's limit is used up",
)
async def daily_limit(stage: Stage) -> AsyncIterator[str]:
    for number in (2, 3, 4):
        await stage.contact("Queued", number, f"{number}@example.com")
    async with configured_worker(stage, limits="2/day"):
        await until(stage.app, "bool_or(crm = 'brevo' AND limits = '2/86400s') FROM crm_sync.progress")
        # Two requests, or slots that passed before their requests started.
        await until(
            stage.app,
            "sum(of_a_part.requests::integer) = 2 FROM crm_sync.budgets AS b, "
            "jsonb_array_elements_text(b.budget -> 'counts' -> '86400') WITH ORDINALITY AS of_a_part (requests, number) "
            "WHERE of_a_part.number > 1",
        )
        withdraw = "UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE brevo_sync_status = 'Queued'"
        await stage.app.execute(withdraw)
        await until(stage.app, "bool_and(brevo_claimed_by IS NULL) FROM contacts")
        await stage.app.execute(withdraw)  # one whose slot had passed is in line again
        yield await stage.contact()


# What a worker reports of its pace during the test, whenever it does.
STEADY = """
CREATE FUNCTION steady() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN NEW.at := clock_timestamp(); NEW.delivered := array_fill(10, ARRAY[60]); RETURN NEW; END';
CREATE TRIGGER steady BEFORE INSERT OR UPDATE ON crm_sync.progress FOR EACH ROW EXECUTE FUNCTION steady();
"""


@asynccontextmanager
async def backlog(stage: Stage, *, pace: bool) -> AsyncIterator[ScriptedCrm]:
    """A worker with a slow CRM: 400 wait."""
    crm = ScriptedCrm(concurrency=1)
    await stage.app.execute(
        "INSERT INTO contacts (email, brevo_sync_status) SELECT n || '@example.com', 'Queued' FROM generate_series(1, 400) AS n"
    )
    crm.gate.clear()
    if pace:
        await stage.app.execute(STEADY)
    async with running(stage.url, crm, waits=QUICK):
        await crm.reached(1)
        await until(stage.app, "count(*) = 1 FROM crm_sync.progress WHERE claims <> '{}'")
        yield crm
        crm.gate.set()
        await stage.app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE brevo_sync_status = 'Queued'")


@situation(
    "in line",
    "pace",
    r"\d\d\d others are before it, and at the pace of the last minute \(\d+\.\d/s\) its turn comes in about \d+ s\.",
    "Others are before it",
)
async def in_the_backlog(stage: Stage) -> AsyncIterator[str]:
    async with backlog(stage, pace=True):
        yield await stage.app.fetchval("SELECT id::text FROM contacts WHERE email = '300@example.com'")


@situation(
    "in line",
    "backfill share",
    r"39\d others are before it, but it waits for only a few of them: a quarter of the requests is for flips after a backlog\.",
)
async def after_the_backlog(stage: Stage) -> AsyncIterator[str]:
    async with backlog(stage, pace=True):
        yield await stage.contact()


@situation("in line", "turn", r"\d\d others are before it, and nothing was delivered in the last minute\.")
async def in_line_without_a_pace(stage: Stage) -> AsyncIterator[str]:
    async with backlog(stage, pace=False):
        yield await stage.app.fetchval("SELECT id::text FROM contacts WHERE email = '80@example.com'")


# In flight.


@situation(
    "in flight",
    None,
    r"It is in flight with worker 1 \(process \d+ on .*\), since \d.* \(\d+ s\), in attempt 1\.",
    "It is on its way",
)
async def in_flight(stage: Stage) -> AsyncIterator[str]:
    crm = ScriptedCrm()
    crm.gate.clear()
    key = await stage.contact()
    async with running(stage.url, crm, waits=QUICK):
        await crm.reached(1)
        await until(stage.app, "count(*) = 1 FROM crm_sync.progress WHERE claims <> '{}'")
        yield key
        crm.gate.set()


@situation("in flight", None, r"in attempt 1\. It was flipped again meanwhile, and goes out once more after it\.")
async def flipped_again(stage: Stage) -> AsyncIterator[str]:
    async with in_flight(stage) as key:
        await stage.flip(key)
        yield key


@situation("in flight", None, r"in attempt 1\. It was withdrawn meanwhile \(Skipped\)\.")
async def withdrawn_in_flight(stage: Stage) -> AsyncIterator[str]:
    async with in_flight(stage) as key:
        await stage.flip(key, "Skipped")
        yield key


@situation("in flight", "row refused", r"in attempt 1, and the contacts table refuses to have its row written: .*\.")
async def outcome_refused(stage: Stage) -> AsyncIterator[str]:
    await stage.app.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'this one stays as it is' USING ERRCODE = 'check_violation'; END $$; "
        "CREATE TRIGGER refuse BEFORE UPDATE ON contacts FOR EACH ROW WHEN (OLD.brevo_claimed_by IS NOT NULL) "
        "EXECUTE FUNCTION refuse()"
    )
    key = await stage.contact()
    async with running(stage.url, ScriptedCrm(), waits=QUICK):
        await until(stage.app, "count(*) = 1 FROM crm_sync.progress WHERE refused <> '{}'")
        yield key


@situation("in flight", "dead worker", r"\(process 1 on gone\), which has died: no other one runs\.")
async def dead_worker(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await orphan(stage.app)
    yield key


@situation("in flight", "lost", r"worker 5, which is no longer known: a worker that runs puts it back in line\.")
async def unknown_worker(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    await stage.app.execute("UPDATE contacts SET brevo_claimed_by = 5::bigint << 32, brevo_sync_status = 'Processing'")
    yield key


# Done.


@situation("delivered", None, r"It was delivered at \d.* ago\), as record 4711\.", "It is there")
async def delivered(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    async with answered(stage, lambda _: Outcome.delivered("4711")):
        await stage.status_is("Complete")
        yield key


@situation(
    "delivered",
    None,
    r"as record 4711, but incomplete: FIELD_NOT_SENT: SMS: another contact has it\.",
    "A field is missing there",
)
async def not_whole(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    async with answered(stage, lambda _: Outcome.delivered("4711", Code.FIELD_NOT_SENT, "SMS: another contact has it")):
        await stage.status_is("Complete")
        yield key


@situation("delivered", None, r"It was delivered .*, as record 4711; by now its status is Skipped\.")
async def delivered_and_skipped(stage: Stage) -> AsyncIterator[str]:
    async with delivered(stage) as key:
        await stage.flip(key, "Skipped")
        yield key


@situation(
    "overtaken",
    None,
    r"as record 4711; the record has the values of row 2d1e0a1c-0000-4000-8000-000000000002, which was flipped later, .* ago\)\.",
    "Another row with the same address was sent",
)
async def overtaken(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact("New")
    await stage.contact("New", 2, "Ada@Example.com")
    for number in (1, 2):
        await stage.flip(KEY.format(number))
    async with answered(stage, lambda _: Outcome.delivered("4711"), batch_limit=100):
        await stage.status_is("Complete")
        yield key


@situation(
    "refused",
    "REJECTED",
    r"It was refused at \d.* ago\) with REJECTED, the CRM refused this contact: "
    r"Brevo refused the contact \(400, request 4c1e-77: .*\)\. "
    r"Its id for the CRM's support: 4c1e-77\.",
    "The CRM refused it",
)
async def refused(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact()
    said = "Brevo refused the contact (400, request 4c1e-77: Invalid phone number)"
    async with answered(stage, lambda _: Outcome.rejected(Code.REJECTED, said)):
        await stage.status_is("Error")
        yield key


@situation(
    "refused",
    "INVALID_EMAIL",
    r"^It was not sent: crm-sync refused it at \d.* ago\) with INVALID_EMAIL: the email address is malformed\.$",
)
async def no_address(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact(email="nobody")
    async with answered(stage, lambda _: Outcome.delivered("4711")):
        await stage.status_is("Error")
        yield key


@situation("refused", "ROW_REFUSED", r"with ROW_REFUSED, the contacts table refused the update: .*short_id")
async def row_refused_its_id(stage: Stage) -> AsyncIterator[str]:
    await stage.app.execute("ALTER TABLE contacts ADD CONSTRAINT short_id CHECK (length(brevo_contact_id) < 3)")
    key = await stage.contact()
    async with answered(stage, lambda _: Outcome.delivered("4711")):
        await stage.status_is("Error")
        yield key


@situation("refused", None, r"It is in Error, and no reason was given\.")
async def silent(stage: Stage) -> AsyncIterator[str]:
    yield await stage.contact("Error")


@situation("refused", None, r"It is in Error: 404 no such list\.")
async def words_of_others(stage: Stage) -> AsyncIterator[str]:
    key = await stage.contact("Error")
    await stage.app.execute("UPDATE contacts SET brevo_processing_error = '404 no such list'")
    yield key


# Gone.


@asynccontextmanager
async def gone(stage: Stage) -> AsyncIterator[str]:
    await stage.app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    async with delivered(stage) as key:
        pass
    await stage.app.execute("DELETE FROM contacts")
    yield key


@situation(
    "deleted",
    None,
    r"Its row was deleted .*, and its record in brevo is to be deleted: a worker does so next\.",
    "It was deleted",
)
async def deleted(stage: Stage) -> AsyncIterator[str]:
    async with gone(stage) as key:
        yield key


@situation("deleted", "CANNOT_DELETE", r"is to be deleted, but that was given up: CANNOT_DELETE: no\.")
async def deletion_given_up(stage: Stage) -> AsyncIterator[str]:
    async with gone(stage) as key:
        await stage.app.execute("UPDATE crm_sync.tombstones SET due_at = NULL, error = 'CANNOT_DELETE: no'")
        yield key
