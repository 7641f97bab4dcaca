"""The models that applications share, held against the database."""

import pytest

from crm_sync.models import ContactRead, ContactUpdate, CRMProcessingStatus, CRMSyncStatus, HubSpotSyncStatus
from tests.steps import insert


@pytest.mark.parametrize(
    ("enum", "name"),
    [
        (CRMSyncStatus, "crm_sync_status"),
        (HubSpotSyncStatus, "hubspot_sync_status"),
        (CRMProcessingStatus, "crm_processing_status"),
        (CRMProcessingStatus, "hubspot_processing_status"),
    ],
)
async def test_an_enum_has_the_values_of_the_database_in_their_order(app, enum, name):
    assert list(enum) == await app.fetchval(f"SELECT enum_range(NULL::{name})::text[]")


async def test_a_row_is_read_whole(app):
    await insert(app, "Queued")
    row = dict(await app.fetchrow("SELECT * FROM contacts"))
    contact = ContactRead.model_validate(row)
    assert contact.brevo_sync_status is CRMSyncStatus.QUEUED
    assert {name: row[name] for name in ContactRead.model_fields} == contact.model_dump()


async def test_every_crm_and_retry_column_is_a_field(app):
    rows = await app.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'contacts'")
    names = {row["column_name"] for row in rows}
    prefixes = ("hubspot_", "brevo_", "mautic_", "n8n_", "retry_", "last_retry", "next_retry", "last_failed")
    assert {name for name in names if name.startswith(prefixes)} == set(ContactRead.model_fields) - {"id", "email"}


async def test_an_update_writes_what_was_set_and_flips(app):
    contact = await insert(app)
    changes = ContactUpdate(brevo_sync_status=CRMSyncStatus.QUEUED).model_dump(exclude_unset=True)
    assert changes == {"brevo_sync_status": "Queued"}
    await app.execute("UPDATE contacts SET brevo_sync_status = $1", changes["brevo_sync_status"])
    assert await app.fetchval("SELECT brevo_processing_status FROM contacts WHERE id = $1", contact) == "Queued"


def test_an_update_has_no_column_that_the_worker_owns():
    with pytest.raises(ValueError, match="brevo_claimed_by"):
        ContactUpdate.model_validate({"brevo_claimed_by": 1})
