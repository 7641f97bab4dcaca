"""Django on the contacts table: the manual's model, and the effect of saving whole rows next to a worker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import django
import pytest
from django.conf import settings
from django.db import ProgrammingError, connections, models, transaction

from tests.harness import until
from tests.manual import blocks
from tests.orms.snippets import run
from tests.orms.steps import COMPLETE, ENDS_A_CLAIM, SHOWS_ITS_AGE, STATES, land, status, take_off
from tests.process import environment, process
from tests.steps import insert

MODEL, USE = blocks("how-to/django.md")

# The app is this folder, which is all that Django requires of a model.
DATABASE = {"ENGINE": "django.db.backends.postgresql", "NAME": "set by each test"}
settings.configure(USE_TZ=True, DATABASES={"default": DATABASE}, INSTALLED_APPS=["tests.orms"])
django.setup()

Contact = run(MODEL, models=models, uuid4=uuid4).Contact


class Plain(models.Model):
    """A status as it is often mapped."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    brevo_sync_status = models.CharField(default="New")

    class Meta:
        db_table = "contacts"
        managed = False


class WithClaim(models.Model):
    """A model with the worker's columns too."""

    id = models.UUIDField(primary_key=True)
    email = models.CharField(null=True)
    brevo_claimed_by = models.BigIntegerField(null=True)
    brevo_due_at = models.DateTimeField(null=True)
    brevo_flipped_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "contacts"
        managed = False


class Application:
    """Django in a separate thread, because connections belong to a thread."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._url = urlsplit(url)

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def open(self) -> None:
        where = {"NAME": self._url.path[1:], "HOST": self._url.hostname, "PORT": self._url.port, "USER": self._url.username}
        connections["default"].settings_dict.update(where, PASSWORD=self._url.password or "")

    def close(self) -> None:
        connections.close_all()


@pytest.fixture
async def application(url: str) -> AsyncIterator[Application]:
    application = Application(url)
    await application.run(application.open)
    yield application
    await application.run(application.close)


@pytest.fixture
async def contact(application: Application) -> Any:
    return await application.run(lambda: Contact.objects.create(email="old@example.com"))


def queue(contact: Any) -> None:
    contact.brevo_sync_status = "Queued"
    contact.save()


async def test_the_code_of_the_manual_is_delivered_by_a_real_worker(app, url, brevo, application, contact):
    async with process(environment(url, brevo)):
        await application.run(lambda: run(USE, contact=contact, Contact=Contact))
        await until(app, COMPLETE)
    await application.run(contact.refresh_from_db)
    assert (contact.email, contact.brevo_sync_status, contact.brevo_processing_error) == ("ada@example.com", "Complete", None)


@pytest.mark.parametrize("state", STATES)
async def test_every_state_is_read_and_filtered_by(app, application, state):
    await insert(app, state)
    assert await application.run(lambda: [one.brevo_sync_status for one in Contact.objects.filter(brevo_sync_status=state)]) == [
        state
    ]
    assert await application.run(lambda: Contact.objects.filter(brevo_sync_status__in=STATES).count()) == 1


def bulk_update(contact):
    contact.brevo_sync_status = "Queued"
    Contact.objects.bulk_update([contact], ["brevo_sync_status"])


def upsert(contact):
    again = [Contact(id=contact.id, email="new@example.com", brevo_sync_status="Queued"), Contact(email="other@example.com")]
    fields = ["email", "brevo_sync_status", "brevo_due_at", "brevo_flipped_at"]
    Contact.objects.bulk_create(again, update_conflicts=True, unique_fields=["id"], update_fields=fields)
    Contact.objects.filter(email="other@example.com").delete()


FLIPS = [
    queue,
    lambda contact: Contact.objects.update(brevo_sync_status="Queued"),
    bulk_update,
    upsert,
    lambda contact: Contact.objects.update_or_create(id=contact.id, defaults={"brevo_sync_status": "Queued"}),
]
NAMES = ["save", "update", "bulk_update", "bulk_create", "update_or_create"]


@pytest.mark.parametrize("flip", FLIPS, ids=NAMES)
async def test_every_way_to_write_is_a_way_to_flip(app, application, contact, crm, flip):
    await application.run(flip, contact)
    await until(app, COMPLETE)
    assert len(crm.requests) == 1


@pytest.mark.parametrize("flip", FLIPS, ids=NAMES)
async def test_a_flip_in_flight_is_sent_after_it_and_not_beside_it(app, application, contact, crm, flip):
    await take_off(app, crm, lambda: application.run(queue, contact))
    await application.run(flip, contact)
    assert await status(app) == ("Queued", "Processing")
    await land(app, crm)
    assert len(crm.requests) == 2


def upserted(contact, columns):
    again = WithClaim(id=contact.id, email="new@example.com")
    changed = ["email", *columns]
    WithClaim.objects.bulk_create([again], update_conflicts=True, unique_fields=["id"], update_fields=changed)


async def test_an_upsert_of_the_workers_columns_too_leaves_the_claim(app, application, contact, crm):
    await take_off(app, crm, lambda: application.run(queue, contact))
    await application.run(upserted, contact, SHOWS_ITS_AGE)
    assert await app.fetchval("SELECT brevo_claimed_by IS NOT NULL FROM contacts")
    await land(app, crm)
    assert len(crm.requests) == 1


async def test_one_that_leaves_out_flipped_at_ends_the_claim_and_the_contact_is_sent_again(app, application, contact, crm):
    await take_off(app, crm, lambda: application.run(queue, contact))
    await application.run(upserted, contact, ENDS_A_CLAIM)
    assert await app.fetchval("SELECT brevo_claimed_by IS NULL FROM contacts")
    await land(app, crm)
    assert crm.store[contact.id]["email"] == "new@example.com"
    assert len(crm.requests) == 2


async def test_many_are_created_at_once(app, application, crm):
    people = [Contact(email=f"{number}@example.com", brevo_sync_status="Queued") for number in range(50)]
    await application.run(Contact.objects.bulk_create, people)
    await until(app, COMPLETE)
    assert len(crm.store) == 50


@pytest.mark.parametrize("word", ["New", "Complete", "Error"])
async def test_a_row_read_before_the_flip_and_saved_whole_in_flight_resets_nothing(app, application, contact, crm, word):
    await application.run(lambda: Contact.objects.update(brevo_sync_status=word))
    stale = await application.run(Contact.objects.get)
    await take_off(app, crm, lambda: application.run(queue, contact))
    before = await app.fetchrow("SELECT * FROM contacts")
    await application.run(stale.save)
    assert await app.fetchrow("SELECT * FROM contacts") == before
    await land(app, crm)
    assert len(crm.requests) == 1


async def test_a_row_read_in_flight_and_saved_whole_after_it_says_what_came_of_it(app, application, contact, crm):
    await take_off(app, crm, lambda: application.run(queue, contact))
    stale = await application.run(Contact.objects.get)
    await land(app, crm)
    stale.email = "new@example.com"
    await application.run(stale.save)
    assert await status(app) == ("Complete", "Complete")
    assert await app.fetchval("SELECT email FROM contacts") == "new@example.com", "the application's own columns are its own"
    assert await app.fetchval("SELECT brevo_contact_id FROM contacts") == f"crm-{contact.id}"
    assert len(crm.requests) == 1


async def test_a_withdrawal_is_taken_from_an_old_row_too(app, application, contact, crm):
    stale = await application.run(Contact.objects.get)
    await take_off(app, crm, lambda: application.run(queue, contact))
    stale.brevo_sync_status = "Skipped"
    await application.run(stale.save)
    await land(app, crm, "brevo_sync_status = 'Skipped' AND brevo_processing_status = 'Complete' FROM contacts")


# What the manual warns of.


def bulk(plain):
    plain.brevo_sync_status = "Queued"
    Plain.objects.bulk_update([plain], ["brevo_sync_status"])


@pytest.mark.parametrize("write", [bulk, lambda plain: Plain.objects.bulk_create([Plain(), Plain()])], ids=["update", "create"])
async def test_a_char_field_is_refused_by_the_bulk_methods(application, contact, write):
    plain = await application.run(Plain.objects.get)
    with pytest.raises(ProgrammingError, match="is of type crm_sync_status but expression is of type character varying"):
        await application.run(write, plain)


async def test_a_model_that_shows_no_age_takes_a_flip_back(app, application, contact):
    stale = await application.run(Plain.objects.get)
    await application.run(queue, contact)
    await application.run(stale.save)
    assert await status(app) == ("New", None)


async def test_a_case_is_refused_unless_it_is_cast(app, application, contact):
    case = models.Case(models.When(id=contact.id, then=models.Value("Queued")), default=models.Value("New"))
    cast = models.functions.Cast(case, type(Contact._meta.get_field("brevo_sync_status"))())
    with pytest.raises(ProgrammingError, match="is of type crm_sync_status but expression is of type text"):
        await application.run(lambda: Contact.objects.update(brevo_sync_status=case))
    await application.run(lambda: Contact.objects.update(brevo_sync_status=cast))
    assert await status(app) == ("Queued", "Queued")


async def test_a_rolled_back_flip_is_none(app, application, contact):
    def undone():
        with transaction.atomic():
            queue(contact)
            transaction.set_rollback(True)

    await application.run(undone)
    assert await status(app) == ("New", None)
