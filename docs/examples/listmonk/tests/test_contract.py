"""The client keeps crm-sync's contract: with the name of a subscriber, and with an attribute."""

from crm_sync.testing import ClientContract, Record
from crm_sync_listmonk import crm
from crm_sync_listmonk.sandbox import TOKEN, USERNAME, ListmonkSandbox


class ListmonkContract(ClientContract):
    crm = crm
    refused = {"email": "ada@blocked.example"}

    def sandbox(self):
        sandbox = ListmonkSandbox()
        sandbox.blocked.add("blocked.example")
        return sandbox

    def settings(self, url):
        return {"LISTMONK_URL": url, "LISTMONK_USERNAME": USERNAME, "LISTMONK_TOKEN": TOKEN, "LISTMONK_LIST_ID": "1"}

    def records(self, sandbox):
        found = sandbox.subscribers.values()
        return [Record(str(one["id"]), one["email"], {"name": one["name"], **one["attribs"]}) for one in found]


class TestWithANameThatChanges(ListmonkContract):
    fields = {"name": "Ada", "city": "London"}


class TestWithAnAttributeThatChanges(ListmonkContract):
    fields = {"city": "London", "name": "Ada"}
