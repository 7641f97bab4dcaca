"""What a contact is known by besides its address: the same with and without one, or one person could be in two requests."""

import pytest

from crm_sync.core.outcome import Contact
from crm_sync.crm.brevo.client import Brevo
from crm_sync.crm.hubspot.client import HubSpot
from crm_sync.crm.mautic.client import Mautic

CLIENTS = [
    (HubSpot(None, match="app_id"), "app_id", "app_id A-1"),
    (Brevo(None, match="ext_id", phone_only=True), "ext_id", "EXT_ID A-1"),
    (Mautic(None, match="app_id"), "app_id", "app_id a-1"),
]


def contact(email=None, remote_id=None, **fields):
    return Contact(1, 1, 1, remote_id, email, None, fields)


@pytest.mark.parametrize(("client", "name", "known_by"), CLIENTS, ids=["hubspot", "brevo", "mautic"])
def test_a_key_is_the_same_with_and_without_an_address(client, name, known_by):
    for one in (contact(**{name: "A-1"}), contact("ada@example.com", "7", **{name: "A-1"})):
        assert client.also_known_by(one) == known_by
    assert client.key(contact(**{name: "A-1"})) == known_by
    assert client.also_known_by(contact("ada@example.com", "7", SMS="4930123456", **{name: None})) is None


@pytest.mark.parametrize(
    "client", [HubSpot(None), Brevo(None, phone_only=True), Mautic(None)], ids=["hubspot", "brevo", "mautic"]
)
def test_without_a_setting_a_contact_with_an_address_is_known_by_that_alone(client):
    assert client.also_known_by(contact("ada@example.com", "7", app_id="A-1", EXT_ID="A-1", SMS="4930123456")) is None
