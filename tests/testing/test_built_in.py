"""The built-in clients keep the contract that plug-ins have to keep."""

from crm_sync.crm.registry import OWN
from crm_sync.sandbox import credentials
from crm_sync.sandbox.brevo.sandbox import BrevoSandbox
from crm_sync.sandbox.hubspot.beside import SCOPES
from crm_sync.sandbox.hubspot.sandbox import HubSpotSandbox
from crm_sync.sandbox.mautic.sandbox import MauticSandbox
from crm_sync.sandbox.process import settings
from crm_sync.testing import ClientContract, Record
from crm_sync.testing.matching import MatchingChecks


class BuiltInContract(ClientContract):
    name = ""

    def settings(self, url):
        return settings(self.name, url)


class TestHubSpot(BuiltInContract):
    name, crm = "hubspot", OWN["hubspot"]
    fields = {"firstname": "Ada", "city": "London"}  # noqa: RUF012 (not changed)
    opts_in = {"subscribeTo": [7]}  # noqa: RUF012

    def sandbox(self):
        sandbox = HubSpotSandbox(requests_per_ten_seconds=None, requests_per_day=None)
        sandbox.scopes |= {*SCOPES.values()}
        return sandbox

    def records(self, sandbox):
        return [Record(str(number), one.properties.get("email"), one.properties) for number, one in sandbox.contacts.items()]


class TestBrevo(BuiltInContract):
    name, crm = "brevo", OWN["brevo"]
    fields = {"FIRSTNAME": "Ada", "LASTNAME": "King"}  # noqa: RUF012
    opts_in = {"emailBlacklisted": False, "smsBlacklisted": False}  # noqa: RUF012

    def sandbox(self):
        return BrevoSandbox(
            key=credentials.BREVO_KEY, list_ids={1}, contacts_per_second=None, contacts_per_hour=None, others_per_hour=None
        )

    def records(self, sandbox):
        return [Record(str(number), one.email, one.attributes) for number, one in sandbox.contacts.items()]


class TestMautic(BuiltInContract):
    name, crm = "mautic", OWN["mautic"]
    fields = {"firstname": "Ada", "city": "London"}  # noqa: RUF012
    opts_in = {"doNotContact": False}  # noqa: RUF012

    def sandbox(self):
        return MauticSandbox()

    def records(self, sandbox):
        return [Record(str(number), one.values.get("email"), one.values) for number, one in sandbox.contacts.items()]


# With a key of one's own.


class KeyedContract(MatchingChecks):
    """matched_by is empty without the setting."""

    key = ""

    def settings(self, url):
        return {**super().settings(url), f"{self.name.upper()}_MATCH": self.key}


class TestHubSpotByKey(KeyedContract, TestHubSpot):
    key, matched = "app_id", {"app_id": "a-1"}

    def sandbox(self):
        sandbox = super().sandbox()
        sandbox.account.define(self.key, "string", is_unique=True)
        return sandbox


class TestBrevoByKey(KeyedContract, TestBrevo):
    key, matched = "ext_id", {"EXT_ID": "a-1"}


class TestMauticByKey(KeyedContract, TestMautic):
    key, matched = "app_id", {"app_id": "a-1"}

    def sandbox(self):
        sandbox = super().sandbox()
        sandbox.account.fields[self.key] = "text"
        sandbox.account.identifiers.add(self.key)
        return sandbox
