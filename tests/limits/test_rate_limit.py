"""The rate limit of an account, shared by all workers: what a request gets when the database is unreachable."""

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.rate import parse
from crm_sync.errors import ConfigurationError, DatabaseTroubleError, HeldBackError
from crm_sync.limits.rate_limit import RateLimit
from tests.harness import ScriptedCrm, running, until
from tests.steps import insert, read

AWAY = DatabaseTroubleError("the database cannot be reached")


class FakeDatabase:
    """With its own row for usage, or trouble instead."""

    def __init__(self):
        self.trouble = None
        self.budget = None

    async def fetch(self, *_):
        if self.trouble is not None:
            raise self.trouble
        return [{"budget": self.budget, "now": 1000.0}]

    async def value(self, _statement, _crm, _before, after):
        self.budget = after
        return 1


@pytest.fixture
def database():
    return FakeDatabase()


async def test_a_request_is_held_back_while_the_database_is_away(database):
    database.trouble = AWAY
    pace = RateLimit(database, "brevo", parse("10/s"))
    with pytest.raises(HeldBackError, match=r"^HELD_BACK: no request could be started: the database cannot be reached$"):
        await pace.slot()
    database.trouble = None
    await pace.slot()


async def test_a_database_that_is_away_is_told_of_once_until_it_is_back(database):
    pace = RateLimit(database, "brevo", parse("10/s"))
    with capture_logs() as said:
        for times in (3, 2):
            database.trouble = AWAY
            for _ in range(times):
                with pytest.raises(HeldBackError):
                    await pace.slot()
            database.trouble = None
            await pace.slot()
    assert [(one["event"], one["crm"], one["reason"]) for one in said] == [
        (events.DATABASE_TROUBLE, "brevo", "the database cannot be reached")
    ] * 2


async def test_a_missing_right_is_a_persons_matter(database):
    database.trouble = ConfigurationError("permission denied")
    with pytest.raises(ConfigurationError):
        await RateLimit(database, "brevo", parse("10/s")).slot()


async def test_an_account_without_limits_does_not_ask_the_database(database):
    database.trouble = AWAY
    await RateLimit(database, "brevo").slot()


async def test_what_is_held_back_goes_back_without_an_attempt(app, url):
    """As when a client raises what the rate limit says."""
    crm = ScriptedCrm()
    held_back = [HeldBackError("no request could be started: the database cannot be reached")] * 3

    async def deliver(contacts, _deliver=crm.deliver):
        outcomes = await _deliver(contacts)
        if held_back:
            raise held_back.pop()
        return outcomes

    crm.deliver = deliver
    contact = await insert(app, "Queued")
    async with running(url, crm):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert len(crm.requests) == 4
    assert (await read(app, contact))["attempts"] == 1
