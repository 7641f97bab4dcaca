"""Rows that share one record of a CRM, for example because their records were merged: none takes its address from the others."""

import pytest

from crm_sync.crm.hubspot.client import HubSpot
from tests.faults.real_crms import delivering, sandboxes
from tests.harness import until

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture
async def hubspot():
    async with sandboxes("hubspot") as there:
        yield there["hubspot"]


async def insert(app, crm, *emails):
    for email in emails:
        await app.execute(f"INSERT INTO contacts (email, first_name, {crm}_sync_status) VALUES ($1, 'New', 'Queued')", email)


async def flip(app, crm, email, name="Ada"):
    """Returns when it is delivered."""
    await app.execute(f"UPDATE contacts SET first_name = $1, {crm}_sync_status = 'Queued' WHERE email = $2", name, email)
    await settled(app, crm)


async def settled(app, crm):
    await until(app, f"bool_and({crm}_due_at IS NULL AND {crm}_sync_status = 'Complete') FROM contacts")


async def ids(app, crm):
    return dict(await app.fetch(f"SELECT email, {crm}_contact_id FROM contacts"))


def primaries(hubspot):
    return {one.id: one.properties["email"] for one in hubspot.contacts.values()}


def operations(hubspot):
    return [request.path.rpartition("/")[2] for request in hubspot.requests if request.method == "POST"]


@pytest.mark.parametrize("primary", [ADA, BOB])
async def test_of_rows_whose_records_were_merged_none_changes_the_primary_address(app, url, monkeypatch, hubspot, primary):
    await insert(app, "hubspot", ADA, BOB)
    async with delivering(url, monkeypatch, {"hubspot": hubspot.url}):
        await settled(app, "hubspot")
        before = await ids(app, "hubspot")
        kept = before[primary]
        [gone] = set(before.values()) - {kept}
        hubspot.account.merge(gone, kept)
        for round_ in range(3):
            for email in (ADA, BOB):
                await flip(app, "hubspot", email, f"{email} {round_}")
                assert primaries(hubspot) == {kept: primary}
                assert hubspot.contacts[kept].properties["firstname"] == f"{email} {round_}"
    assert await ids(app, "hubspot") == {ADA: kept, BOB: kept}


async def test_over_two_workers_too(app, url, monkeypatch, hubspot):
    await insert(app, "hubspot", ADA, BOB)
    async with delivering(url, monkeypatch, {"hubspot": hubspot.url}), delivering(url, monkeypatch, {"hubspot": hubspot.url}):
        await settled(app, "hubspot")
        before = await ids(app, "hubspot")
        hubspot.account.merge(before[ADA], before[BOB])
        for _ in range(3):
            await flip(app, "hubspot", ADA)
            await flip(app, "hubspot", BOB)
            assert primaries(hubspot) == {before[BOB]: BOB}


async def test_a_row_that_has_its_record_for_itself_takes_it_along_to_another_address(app, url, monkeypatch, hubspot):
    await insert(app, "hubspot", ADA, BOB)
    async with delivering(url, monkeypatch, {"hubspot": hubspot.url}):
        await settled(app, "hubspot")
        before = await ids(app, "hubspot")
        await app.execute(
            "UPDATE contacts SET email = 'lovelace@example.com', hubspot_sync_status = 'Queued' WHERE email = $1", ADA
        )
        await settled(app, "hubspot")
    assert primaries(hubspot) == {before[ADA]: "lovelace@example.com", before[BOB]: BOB}


async def test_rows_of_one_address_take_their_record_along_together(app, url, monkeypatch, hubspot):
    """They share it, but not with another address."""
    await insert(app, "hubspot", ADA, " ADA@example.com")
    async with delivering(url, monkeypatch, {"hubspot": hubspot.url}):
        await settled(app, "hubspot")
        await app.execute("UPDATE contacts SET email = 'lovelace@example.com', hubspot_sync_status = 'Queued'")
        await settled(app, "hubspot")
    assert list(primaries(hubspot).values()) == ["lovelace@example.com"]


async def test_a_row_that_shared_a_record_and_gets_another_address_gets_a_record_of_its_own(app, url, monkeypatch, hubspot):
    await insert(app, "hubspot", ADA, BOB)
    async with delivering(url, monkeypatch, {"hubspot": hubspot.url}):
        await settled(app, "hubspot")
        before = await ids(app, "hubspot")
        hubspot.account.merge(before[ADA], before[BOB])
        await flip(app, "hubspot", ADA)
        await app.execute(
            "UPDATE contacts SET email = 'lovelace@example.com', hubspot_sync_status = 'Queued' WHERE email = $1", ADA
        )
        await settled(app, "hubspot")
        assert sorted(primaries(hubspot).values()) == [BOB, "lovelace@example.com"]
        await flip(app, "hubspot", BOB)
        await flip(app, "hubspot", "lovelace@example.com")
    assert sorted(primaries(hubspot).values()) == [BOB, "lovelace@example.com"]


async def test_a_hundred_known_contacts_are_one_request(app, url, monkeypatch, hubspot):
    await insert(app, "hubspot", *(f"p{number}@example.com" for number in range(HubSpot.batch_limit)))
    async with delivering(url, monkeypatch, {"hubspot": hubspot.url}):
        await settled(app, "hubspot")
        hubspot.requests.clear()
        await app.execute("UPDATE contacts SET first_name = 'Ada', hubspot_sync_status = 'Queued'")
        await settled(app, "hubspot")
    assert operations(hubspot) == ["update"]


async def test_of_rows_with_one_record_of_mautic_none_changes_its_address(app, url, monkeypatch):
    """Merged in Mautic, whose records have only one address: the other row gets its own record."""
    await insert(app, "mautic", ADA, BOB)
    async with sandboxes("mautic") as there, delivering(url, monkeypatch, {"mautic": there["mautic"].url}):
        mautic = there["mautic"]
        await settled(app, "mautic")
        before = await ids(app, "mautic")
        mautic.account.delete(mautic.contacts[int(before[BOB])])
        await app.execute("UPDATE contacts SET mautic_contact_id = $1", before[ADA])
        for _ in range(2):
            await flip(app, "mautic", BOB)
            await flip(app, "mautic", ADA)
            assert mautic.contacts[int(before[ADA])].values["email"] == ADA
        assert sorted(one.values["email"] for one in mautic.contacts.values()) == [ADA, BOB]


async def test_of_rows_with_one_record_of_brevo_none_changes_its_address(app, url, monkeypatch):
    await insert(app, "brevo", ADA, BOB)
    async with sandboxes("brevo") as there, delivering(url, monkeypatch, {"brevo": there["brevo"].url}):
        await settled(app, "brevo")
        before = await ids(app, "brevo")
        await app.execute("UPDATE contacts SET brevo_contact_id = $1", before[ADA])
        await flip(app, "brevo", BOB)
        await flip(app, "brevo", ADA)
        assert await ids(app, "brevo") == before
