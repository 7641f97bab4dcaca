"""A plug-in's CRM and its client: batches, a token login, deletions, a schema. The kit is tested with it."""

from dataclasses import replace

from crm_sync.core.codes import Code
from crm_sync.core.identity import fold
from crm_sync.core.outcome import Outcome
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.values import PLAIN, Member
from crm_sync.crm import client as crm_client
from crm_sync.crm.account import over_http, require_none
from crm_sync.crm.client import Client
from crm_sync.crm.members import boolean, only_true
from crm_sync.crm.registry import Crm
from crm_sync.crm.token_login import TokenLogin
from crm_sync.environment import read
from crm_sync.errors import BatchRefusedError, ConfigurationError, OutageError, RefusedError
from crm_sync.settings import Key, SettingsModel
from crm_sync.testing import Answer, ClientContract, Record, RoutedSandbox, TokenDesk, route

CLIENT, SECRET = "ledger-client", "ledger-secret-0123456789"
FIELDS = {"name": "first_name", "city": "city"}


class LedgerSandbox(RoutedSandbox):
    """People by number. It refuses a whole batch because of one name that it does not accept."""

    def __init__(self, **options):
        super().__init__(**options)
        self.desk = TokenDesk(
            {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}, clock=self.clock
        )
        self.people = {}
        self.last = 0

    def admits(self, call):
        return None if call.path == "/token" or self.desk.admits(call) else self.error(401, "no good token")

    @route("POST", "/token")
    def token(self, call):
        return self.desk.login(call)

    @route("GET", "/me")
    def me(self, call):
        return Answer(200, {"client": CLIENT})

    @route("GET", "/fields")
    def fields(self, call):
        return Answer(200, {"fields": ["name", "city"]})

    @route("GET", "/people")
    def search(self, call):
        return Answer(200, {"people": [self.shown(one) for one in self.people.values() if one["email"] == call.query["email"]]})

    @route("POST", "/people/batch")
    def write(self, call):
        people = call.body["people"]
        if any("invalid" in str(one["fields"].get("name")) for one in people):
            return self.error(422, "a name is not valid")
        return Answer(200, {"people": [self.shown(self.upsert(one)) for one in people]})

    @route("GET", "/people/{number}")
    def read(self, call, number):
        one = self.people.get(number)
        return Answer(200, {"people": [{**self.shown(one), "fields": one["fields"]}] if one else []})

    def upsert(self, one):
        email = one["email"].lower()
        known = self.people.get(str(one.get("id"))) or next((old for old in self.people.values() if old["email"] == email), None)
        if known is None:
            self.last += 1
            known = self.people[str(self.last)] = {"id": str(self.last), "fields": {}}
        known["email"] = email
        known["fields"] = {name: value for name, value in (known["fields"] | one["fields"]).items() if value is not None}
        return known

    @route("DELETE", "/people/{number}")
    def delete(self, call, number):
        return Answer(200, {"deleted": number}) if self.people.pop(number, None) else self.error(404, "no such person")

    def shown(self, one):
        return {"id": one["id"], "email": one["email"]}


class LedgerSettings(SettingsModel):
    ledger_url: str | None = None
    ledger_client_id: str | None = None
    ledger_client_secret: Key | None = None


class Ledger(Client):
    batch_limit = 4

    def __init__(self, http, settings):
        secret = settings.ledger_client_secret.get_secret_value()
        keys = "check LEDGER_CLIENT_ID and LEDGER_CLIENT_SECRET"
        self.login = self.log_in(http, settings.ledger_client_id, secret, keys)

    def log_in(self, http, client_id, secret, keys):
        return TokenLogin.client_credentials(http, "/token", client_id, secret, keys=keys)

    async def deliver(self, contacts):
        people = [
            {"email": one.email, "fields": {**one.filled, **dict.fromkeys(self.cleared(one))}}
            | ({"id": one.remote_id} if one.remote_id else {})
            for one in contacts
        ]
        answer = await self.login.request("POST", "/people/batch", {"people": people})
        if answer.status == 422:
            raise BatchRefusedError(Code.REJECTED, f"Ledger refused the batch ({answer.label})")
        ids = self.ids(answer)
        return [
            Outcome.delivered(ids[one.email.lower()])
            if one.email.lower() in ids
            else Outcome.failed(Code.NOT_ACCOUNTED, f"Ledger said nothing of this contact ({answer.label})")
            for one in contacts
        ]

    def cleared(self, contact):
        return contact.emptied

    async def read(self, contacts, names):
        return [await self.read_one(one, names) for one in contacts]

    async def read_one(self, contact, names):
        number = contact.remote_id or (await self.find([contact.email]))[0]
        people = (await self.login.request("GET", f"/people/{number}")).get("people") if number else []
        if not isinstance(people, list) or not all(isinstance(one, dict) for one in people):
            raise OutageError(Code.BROKEN_ANSWER, "Ledger answered a search with no people")
        return self.record(people[0], names) if people else None

    def record(self, person, names):
        email, fields = person.get("email"), person.get("fields")
        if not isinstance(email, str) or not isinstance(fields, dict):
            raise OutageError(Code.BROKEN_ANSWER, "Ledger answered a search with half a person")
        return crm_client.Record(frozenset({fold(email)}), {name: fields.get(name) for name in names})

    def ids(self, answer):
        """By address. Raises OutageError."""
        people = answer.get("people")
        if answer.status != 200 or not isinstance(people, list):
            raise OutageError(Code.BROKEN_ANSWER, f"Ledger answered {answer.label} and no people")
        return {
            one["email"].lower(): one["id"]
            for one in people
            if isinstance(one, dict) and isinstance(one.get("email"), str) and isinstance(one.get("id"), str)
        }

    async def delete(self, deletions):
        [deletion] = deletions
        answer = await self.login.request("DELETE", f"/people/{deletion.remote_id}")
        if (answer.status == 200 and answer.get("deleted") == deletion.remote_id) or (
            answer.status == 404 and answer.get("message")
        ):
            return [Outcome.delivered(None)]
        raise OutageError(Code.BROKEN_ANSWER, f"Ledger answered {answer.label} to a deletion")

    async def find(self, emails):
        return [self.ids(await self.login.request("GET", "/people", email=email.lower())).get(email.lower()) for email in emails]

    async def schema(self):
        names = (await self.login.request("GET", "/fields")).get("fields")
        if not isinstance(names, list):
            return None
        return RemoteSchema("Ledger", "field", {name: RemoteField(name, "text") for name in names if isinstance(name, str)})

    async def check(self):
        answer = await self.login.request("GET", "/me")
        if not answer.get("client"):
            raise RefusedError(Code.NOT_FOUND, f"what answered {answer.label} is not Ledger: check LEDGER_URL")
        return "credentials accepted"


FORMS = replace(PLAIN, clears=True, members={"optedOut": Member(boolean, only_true)})


def registered(client=Ledger, forms=FORMS):
    def account():
        settings = read(LedgerSettings)
        if settings.ledger_url is None:
            require_none("LEDGER_URL", settings)
            return None
        for name in ("ledger_client_id", "ledger_client_secret"):
            if getattr(settings, name) is None:
                raise ConfigurationError(f"{name.upper()}: not set")
        where = {"url_setting": "LEDGER_URL", "base_url": settings.ledger_url}
        return over_http("ledger", lambda http: client(http, settings), **where, headers={}, default_fields=FIELDS, forms=forms)

    return Crm("ledger", account, default_fields=FIELDS, settings=LedgerSettings)


class LedgerContract(ClientContract):
    crm = registered()
    fields = {"name": "Ada", "city": "London"}  # noqa: RUF012 (not changed)
    refused = {"name": "invalid"}  # noqa: RUF012
    opts_in = {"optedOut": False}  # noqa: RUF012

    def sandbox(self):
        return LedgerSandbox()

    def settings(self, url):
        return {"LEDGER_URL": url, "LEDGER_CLIENT_ID": CLIENT, "LEDGER_CLIENT_SECRET": SECRET}

    def records(self, sandbox):
        return [Record(one["id"], one["email"], one["fields"]) for one in sandbox.people.values()]

    def tokens(self, sandbox):
        return sandbox.desk
