"""One person in two rows, one with an address and one known only by a key of the application: never in two requests at once, and
the last state wins.
"""

import pytest

from crm_sync import events
from crm_sync.core.waits import Waits
from tests.faults.promise import said
from tests.faults.test_order import PUT_BACK, QUICK, Record, SlowCrm, put_back, retried_after_the_other, two_workers
from tests.harness import ALL_COMPLETE, running, until

FREE = "count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"


class ByKey(SlowCrm):
    """Its records are known by addresses, and by a key, which OLD and NEW have in common."""

    matched_by = frozenset({"FIRSTNAME"})

    def __init__(self, record, batch_limit=1):
        super().__init__(record)
        self.batch_limit = batch_limit

    def also_known_by(self, contact):
        return "key 1" if contact.filled["FIRSTNAME"] in ("OLD", "NEW") else None

    def key(self, contact):
        return self.also_known_by(contact)


@pytest.fixture
def record():
    return Record()


async def put(app, name, email=None):
    return await app.fetchval(
        "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, $2, 'Queued') RETURNING id", email, name
    )


EMAILS = [("ada@example.com", None), (None, "ada@example.com"), ("ada@example.com", "lovelace@example.com")]


@pytest.mark.parametrize("emails", EMAILS)
async def test_they_are_never_in_two_requests_of_a_worker(app, url, record, emails):
    crm = ByKey(record)
    crm.gate.clear()
    async with running(url, crm, waits=QUICK):
        await put(app, "OLD", emails[0])
        await crm.reached(1)
        await put(app, "NEW", emails[1])
        await put(app, "Grace", "grace@example.com")
        await crm.reached(2)  # Grace's: she was claimed last
        assert [one.fields["FIRSTNAME"] for request in crm.requests for one in request] == ["OLD", "Grace"]
        crm.gate.set()
        await until(app, ALL_COMPLETE)
    assert [name for name in record.first_names if name != "Grace"] == ["OLD", "NEW"]


@pytest.mark.parametrize("batch_limit", [1, 100])
@pytest.mark.parametrize("emails", EMAILS[:2])
async def test_of_one_claim_they_are_sent_one_after_another_in_the_order_of_their_flips(app, url, record, emails, batch_limit):
    async with app.transaction():
        for name, email in zip(("OLD", "NEW"), emails, strict=True):
            await put(app, name, email)
    crm = ByKey(record, batch_limit)
    async with running(url, crm, waits=QUICK):
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["OLD", "NEW"]
    assert record.most_under_way == 1


async def test_they_are_never_in_the_requests_of_two_workers(app, url, record):
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com')")
    async with two_workers(url, app, record, client=ByKey) as (first, _, one, other):
        first.stop.set()
        await put(app, "NEW")
        await until(app, PUT_BACK)
        assert other.requests == []
        one.gate.set()
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["OLD", "NEW"]
    assert record.most_under_way == 1
    await until(app, FREE)


@pytest.mark.parametrize("emails", EMAILS[:2])
async def test_one_that_is_retried_after_a_later_flip_of_the_other_is_sent_over(app, url, record, log, emails):
    """The table shows it, as for two rows of one address."""
    crm = ByKey(record)
    async with running(url, crm, waits=Waits(tick_s=0.1, address_busy_s=0.05)):
        first = await put(app, "OLD", emails[0])
        await until(app, ALL_COMPLETE)
        await put_back(app, crm, first)
        await put(app, "NEW", emails[1])
        await retried_after_the_other(app, first)
        await said(log, events.CONTACTS_OVERWRITTEN)
        await until(app, ALL_COMPLETE)
    assert record.first_names == ["OLD", "NEW", "OLD", "NEW"]
