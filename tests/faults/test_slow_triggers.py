"""A trigger of the application that is slow for some rows: how long the outcomes of others wait for it."""

import pytest

from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.waits import Waits
from crm_sync.errors import TooSlowError
from crm_sync.table.contacts import Contacts
from crm_sync.table.finishing import MOST_WAITS
from tests.faults.promise import LINE_UP
from tests.steps import open_worker

OTHERS = 16
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON contacts
FOR EACH ROW WHEN (OLD.email LIKE 'slow%' AND OLD.brevo_claimed_by IS NOT NULL) EXECUTE FUNCTION slow();
"""
QUICK = Waits(statement_timeout_s=0.6, claim_patience_s=0.1)


class Cancelled:
    """Statements that the server cancelled: the number of outcomes in each, of those with little time and of the others."""

    def __init__(self, contacts: Contacts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.brief: list[int] = []
        self.long: list[int] = []
        finishing = contacts._finishing
        finish = finishing._finish_at_once

        async def watched(finishes, *, apart, patience_s=None):
            try:
                return await finish(finishes, apart=apart, patience_s=patience_s)
            except TooSlowError as error:
                if error.of_a_row:  # not a busy machine
                    (self.long if patience_s is None else self.brief).append(len(finishes))
                raise

        monkeypatch.setattr(finishing, "_finish_at_once", watched)


@pytest.mark.parametrize("slow", [1, 2])
async def test_the_others_wait_briefly_and_only_once_for_as_long_as_a_statement_may_take(app, url, monkeypatch, slow):
    await app.execute(LINE_UP, "good", OTHERS // 2)
    await app.execute(LINE_UP, "slow", slow)
    await app.execute(LINE_UP, "more", OTHERS // 2)
    await app.execute(SLOW)
    async with open_worker(url, 1, QUICK) as worker:
        claimed = await worker.claim()
        cancelled = Cancelled(worker.contacts, monkeypatch)
        finished = await worker.contacts.finish([Finish(one.id, one.token, Kind.DELIVERED) for one in claimed])
    assert len(finished.written) == OTHERS
    assert len(finished.refused) == slow
    assert cancelled.long == [1]
    assert len(cancelled.brief) <= MOST_WAITS


async def test_a_row_that_was_slow_before_is_written_apart_from_the_others(app, url, monkeypatch):
    await app.execute(LINE_UP, "good", OTHERS)
    await app.execute(LINE_UP, "slow", 1)
    await app.execute(SLOW)
    async with open_worker(url, 1, QUICK) as worker:
        claimed = await worker.claim()
        slow = [Finish(one.id, one.token, Kind.DELIVERED) for one in claimed if str(one.email).startswith("slow")]
        good = [Finish(one.id, one.token, Kind.DELIVERED) for one in claimed if str(one.email).startswith("good")]
        await worker.contacts.finish(slow)
        cancelled = Cancelled(worker.contacts, monkeypatch)
        finished = await worker.contacts.finish([*good, *slow])
    assert len(finished.written) == OTHERS
    assert (cancelled.brief, cancelled.long) == ([1], [1])


async def test_one_that_is_only_slower_than_others_is_written(app, url, monkeypatch):
    await app.execute(LINE_UP, "good", 3)
    await app.execute(LINE_UP, "slow", 2)
    await app.execute(SLOW.replace("60", "0.2"))
    async with open_worker(url, 1, QUICK) as worker:
        claimed = await worker.claim()
        cancelled = Cancelled(worker.contacts, monkeypatch)
        finished = await worker.contacts.finish([Finish(one.id, one.token, Kind.DELIVERED) for one in claimed])
    assert len(finished.written) == 5
    assert cancelled.long == []
