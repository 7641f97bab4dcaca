"""Contacts without an address: delivered where the client knows them by something else, each for itself."""

import pytest

from crm_sync.core.identity import Addressee, addressees
from crm_sync.core.outcome import Contact, Outcome
from crm_sync.core.waits import Waits
from crm_sync.errors import BatchRefusedError
from tests.harness import ScriptedCrm, running, until

SETTLED = "bool_and(brevo_sync_status IN ('Complete', 'Error')) FROM contacts"
NONE = "INVALID_EMAIL: the contact has no email address: give it a name"


class ByName(ScriptedCrm):
    """Knows a contact without an address by its first name."""

    without_address = "give it a name"

    def key(self, contact):
        return f"name {name}" if (name := contact.filled.get("FIRSTNAME")) else None


async def rows(app):
    return {
        row["first_name"]: (row["brevo_sync_status"], row["brevo_processing_error"])
        for row in await app.fetch("SELECT first_name, brevo_sync_status, brevo_processing_error FROM contacts")
    }


async def put(app, name, email):
    await app.execute("INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ($1, $2, 'Queued')", email, name)


async def test_what_has_a_key_is_delivered_and_the_rest_is_told_what_to_do(app, url):
    crm = ByName(batch_limit=100)
    for name, email in [("Ada", None), ("Bob", " "), (None, None), ("Dan", "dan@example.com"), ("Eve", "not an address")]:
        await put(app, name, email)
    async with running(url, crm):
        await until(app, SETTLED)
    assert await rows(app) == {
        "Ada": ("Complete", None),
        "Bob": ("Complete", None),
        None: ("Error", NONE),
        "Dan": ("Complete", None),
        "Eve": ("Error", "INVALID_EMAIL: the email address is malformed"),
    }
    assert sorted(one["FIRSTNAME"] for one in crm.store.values()) == ["Ada", "Bob", "Dan"]


async def test_two_with_one_key_share_a_delivery_and_both_get_the_id(app, url):
    crm = ByName(batch_limit=100)
    await put(app, "Ada", None)
    await put(app, "Ada", "")
    async with running(url, crm):
        await until(app, SETTLED)
    assert len(crm.store) == 1
    assert await app.fetchval("SELECT count(DISTINCT brevo_contact_id) FROM contacts WHERE brevo_contact_id IS NOT NULL") == 1
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Complete'") == 2


class Brittle(ByName):
    """Its key is made of fields that may not be there."""

    def __init__(self):
        super().__init__(batch_limit=100)
        self.deleted = []

    def key(self, contact):
        return contact.filled["FIRSTNAME"]

    async def find(self, emails):
        return [None] * len(emails)

    async def delete(self, deletions):
        self.deleted += deletions
        return [Outcome.delivered(None)] * len(deletions)


async def test_a_key_that_cannot_be_made_is_that_contact_s_and_holds_up_no_deletion(app, url):
    crm = Brittle()
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await put(app, "Ada", None)
    await put(app, None, None)
    async with running(url, crm, waits=Waits(tick_s=0.1)):
        await until(app, SETTLED)
        said = "INVALID_EMAIL: the contact has no email address, and the client's method key failed with KeyError"
        assert await rows(app) == {"Ada": ("Complete", None), None: ("Error", said)}
        remote_id = await app.fetchval("SELECT max(brevo_contact_id) FROM contacts")
        await app.execute("DELETE FROM contacts")
        await until(app, "NOT EXISTS (SELECT FROM crm_sync.tombstones)")
    assert [deletion.remote_id for deletion in crm.deleted] == [remote_id]


async def test_of_several_that_are_refused_together_the_one_to_blame_is_found(app, url):
    crm = ByName(batch_limit=100)
    for number in range(8):
        await put(app, f"P{number}", None)
    deliver = crm.deliver

    async def refusing(contacts):
        if any(contact.fields["FIRSTNAME"] == "P5" for contact in contacts):
            raise BatchRefusedError("REJECTED", "one of them")
        return await deliver(contacts)

    crm.deliver = refusing
    async with running(url, crm):
        await until(app, SETTLED)
    assert {name for name, (status, _) in (await rows(app)).items() if status == "Error"} == {"P5"}


def contact(number, email=None):
    return Contact(number, 1, 1, None, email, number, {"FIRSTNAME": "Ada"})


class ByRow(ScriptedCrm):
    def key(self, contact):
        return f"contact {contact.id}"


def test_contacts_without_address_and_key_are_never_one_person():
    """Where a client gives each a key of its own."""
    first, second = contact(1), contact(2)
    found = addressees([first, second], known=ByRow())
    assert found == [Addressee("contact 1", first), Addressee("contact 2", second)]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_an_address_outweighs_the_key(order):
    people = {1: contact(1, "ada@example.com"), 2: contact(2)}
    found = addressees([people[one] for one in order], known=ByName())
    assert {one.address for one in found} == {"ada@example.com", "name Ada"}
