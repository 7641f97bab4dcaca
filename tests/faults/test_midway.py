"""A session that is lost in the middle of a delivery: other workers may have its contacts, so it starts no further request."""

import asyncio
from collections.abc import Iterator

import pytest

from crm_sync.sandbox.server import Fault, Hold, is_about_contacts
from tests.faults.promise import LINE_UP, SlowToSayFields, assert_promise_kept
from tests.faults.real_crms import PEOPLE, assert_delivered, complete, delivering, sandboxes
from tests.harness import ALL_COMPLETE, SESSIONS, TIMEOUT_S, running, until


async def end_session(app):
    assert await app.fetchval(f"SELECT bool_and(pg_terminate_backend(pid, 5000)) {SESSIONS}")


@pytest.fixture
def crm() -> Iterator[SlowToSayFields]:
    crm = SlowToSayFields()
    yield crm
    crm.says_fields.set()


async def test_while_it_asked_for_fields_nothing_is_sent_under_the_claims_of_then(app, url, crm):
    await app.execute(LINE_UP, "a", 5)
    async with running(url, crm):
        await asyncio.wait_for(crm.asked.wait(), TIMEOUT_S)
        former = {row[0] for row in await app.fetch("SELECT brevo_claimed_by FROM contacts WHERE brevo_claimed_by IS NOT NULL")}
        await end_session(app)
        crm.says_fields.set()
        await until(app, ALL_COMPLETE)
    assert former
    assert former.isdisjoint(contact.token for request in crm.requests for contact in request)
    await assert_promise_kept(app, crm)


async def test_between_a_lookup_and_its_write_the_write_is_not_sent(app, url, monkeypatch):
    await app.execute(PEOPLE.format(crm="mautic"), 1)
    hold = Hold()
    async with sandboxes("mautic") as there:
        mautic = there["mautic"]
        mautic.next_faults.append(Fault(hold=hold))
        async with delivering(url, monkeypatch, {"mautic": mautic.url}):
            await asyncio.wait_for(hold.reached.wait(), TIMEOUT_S)
            await end_session(app)
            hold.release()
            await until(app, complete("mautic"))
        await assert_delivered(app, "mautic", mautic, attempts=2)
        methods = [request.method for request in mautic.requests if is_about_contacts(request)]
    assert methods[:2] == ["GET", "GET"], "the contact is looked up once more, under its next claim"
