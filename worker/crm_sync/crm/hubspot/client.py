"""HubSpot, up to a hundred contacts a request.

A contact whose row has HubSpot's id is updated by it, so that a changed address makes no second record; the others, and those
that HubSpot no longer has under their id, are upserted by a property of their own or by address. So a contact without an address
is delivered if it has an id or a value of that property. Each is sent with a trace id: with them HubSpot takes the
good ones of a batch and names the others (207), without them one bad contact refuses all. [HubSpot's OpenAPI, its contacts guide
and error handling page, 2026-09]
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.mode import Mode
from crm_sync.core.outcome import Contact, Deletion
from crm_sync.core.rate import Remaining
from crm_sync.core.remote_schema import RemoteField, RemoteSchema
from crm_sync.core.text import printable
from crm_sync.crm.account import Account, over_http
from crm_sync.crm.answer import Answer
from crm_sync.crm.client import Client, Entry, Found, Held
from crm_sync.crm.exchange import Assumption
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot import deleting, likeness, reading
from crm_sync.crm.hubspot.api import ContactsApi
from crm_sync.crm.hubspot.assumptions import assumptions
from crm_sync.crm.hubspot.beside import Beside
from crm_sync.crm.hubspot.delivery import Delivery
from crm_sync.crm.hubspot.inputs import EMAIL, value_of
from crm_sync.crm.hubspot.refusals import LONGEST_NAME, is_id, judged, not_hubspot
from crm_sync.crm.hubspot.schema import schema
from crm_sync.crm.hubspot.settings import HubSpotSettings
from crm_sync.crm.hubspot.versions import CURRENT, version_of
from crm_sync.crm.values import HUBSPOT
from crm_sync.environment import read
from crm_sync.errors import RefusedError

CONTACTS_PATH = "/crm/v3/objects/contacts"

DEFAULT_FIELDS = {
    "firstname": "first_name",
    "lastname": "last_name",
    "phone": "phone",
    "company": "company",
    "jobtitle": "job_title",
    "website": "website",
    "address": "address",
    "city": "city",
    "state": "state",
    "zip": "zip",
    "country": "country",
}
# Of a private app or service key, and of the account's day [HubSpot, usage guidelines; changelog, "Increasing our API limits"].
# A capacity pack gives 250 in ten seconds and another million a day: HUBSPOT_LIMITS says so.
LIMITS = {
    "free": "100/10s 250000/day",
    "starter": "100/10s 250000/day",
    "professional": "190/10s 650000/day",
    "enterprise": "190/10s 1000000/day",
}


def account() -> Account | None:
    """None without a token. Raises ConfigurationError naming a wrong setting."""
    settings = read(HubSpotSettings)
    token = settings.hubspot_access_token
    if token is None:
        return None
    return over_http(
        "hubspot",
        partial(HubSpot, path=settings.hubspot_contacts_path, mode=settings.hubspot_mode, match=settings.hubspot_match),
        url_setting="HUBSPOT_BASE_URL",
        base_url=settings.hubspot_base_url,
        headers={"Authorization": f"Bearer {token.get_secret_value()}"},
        default_fields=DEFAULT_FIELDS,
        forms=HUBSPOT,
        limits=LIMITS[settings.hubspot_plan],
        remaining=_remaining,
        required={} if settings.hubspot_match == EMAIL else {settings.hubspot_match: "HUBSPOT_MATCH"},
    )


def _remaining(headers: Mapping[str, str]) -> list[Remaining]:
    """What is left of the ten seconds, and of the day."""
    named = {10.0: "X-HubSpot-RateLimit-Remaining", 86_400.0: "X-HubSpot-RateLimit-Daily-Remaining"}
    texts = {seconds: headers.get(name, "") for seconds, name in named.items()}
    return [Remaining(seconds, int(text)) for seconds, text in texts.items() if text.isdecimal()]


class HubSpot(Client):
    """One account of HubSpot."""

    batch_limit = 100
    concurrency = 4
    delete_limit = 100
    read_limit = 100

    def __init__(self, http: Http, *, path: str = CONTACTS_PATH, mode: Mode = Mode.UPSERT, match: str = EMAIL) -> None:
        """path: of the contacts, in which the versions of HubSpot's API differ. match: the property that finds a contact in an
        upsert, for those that have a value.
        """
        self._http = http
        self._path = path
        self._api = ContactsApi(http, path)
        self._version = version_of(path)
        self._beside = Beside(http, self._api, self._version or CURRENT)
        self._mode = mode
        self._match = match
        self.matched_by = frozenset() if match == EMAIL else frozenset({match})
        self.without_address = (
            "add one to the row, and queue it again; HUBSPOT_MATCH sends contacts without one by a property of unique values"
            if match == EMAIL
            else f"add one or a value for {match} (HUBSPOT_MATCH) to the row, and queue it again"
        )

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        entries = await Delivery(self._api, contacts, self._mode, self._match, self.without_address).run()
        return await self._beside.apply(contacts, entries)

    def key(self, contact: Contact) -> str | None:
        """The value of HUBSPOT_MATCH, else HubSpot's id."""
        if (known_by := self.also_known_by(contact)) is not None:
            return known_by
        if self._mode is not Mode.CREATE and is_id(contact.remote_id or ""):
            return f"record {contact.remote_id}"
        return None

    def also_known_by(self, contact: Contact) -> str | None:
        """Case counts, because it may count in HubSpot."""
        value = value_of(contact, self._match)
        return f"{self._match} {value}" if value else None

    def assumptions(self, contact: Contact) -> Sequence[Assumption]:
        return assumptions(contact, self._mode, self._match)

    async def find(self, emails: Sequence[str]) -> Sequence[Found]:
        return await reading.find(self._api, emails)

    async def locate(self, contacts: Sequence[Contact]) -> Sequence[Found]:
        return await reading.locate(self._api, contacts, self._match)

    async def read(self, contacts: Sequence[Contact], names: Sequence[str]) -> Sequence[Held]:
        return await reading.read(self._api, contacts, names, self._match)

    def same(self, field: RemoteField | None, name: str, sent: Any, held: Any) -> bool | None:
        return likeness.same(field, name, sent, held)

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        return await deleting.delete(self._api, deletions)

    async def check(self) -> str:
        """By the contacts, for which the path and the scope must be right too. The account is named where it may be seen."""
        answer = judged(await self._http.send("GET", self._path, query={"limit": "1"}))
        if answer.status != 200 or not isinstance(answer.get("results"), list):
            raise not_hubspot(answer)
        if self._match != EMAIL:
            await self._require_unique(self._match)
        version = self._version
        if version is None:
            return "token accepted; which version of HubSpot's API HUBSPOT_CONTACTS_PATH means is not known"
        until = f"API {version.name}, which HubSpot supports until {version.ends}"
        details = await self._http.send("GET", version.account)
        portal, kind = _portal(details), details.get("accountType")
        return f"{portal}, {printable(str(kind), LONGEST_NAME)}; {until}" if portal else f"token accepted; {until}"

    async def account(self) -> str | None:
        """A service key may not be allowed to ask. [HubSpot's OpenAPI, Account Information]"""
        if self._version is None:
            return None
        return _portal(await self._http.request("GET", self._version.account))

    async def _require_unique(self, name: str) -> None:
        """Raises RefusedError if the account cannot match by this property."""
        if self._version is None:
            return
        answer = judged(await self._http.send("GET", f"{self._version.properties}/{name}"))
        if answer.status != 200 or answer.get("hasUniqueValue") is not True:
            raise RefusedError(
                Code.MISCONFIGURED,
                f"HUBSPOT_MATCH names {name}, whose values HubSpot does not keep unique: make it a property that requires"
                " unique values, or match by another",
            )

    async def schema(self) -> RemoteSchema | None:
        """The scope to read contacts is enough. [HubSpot's OpenAPI, CRM properties]"""
        if self._version is None:
            return None
        answer = judged(await self._http.send("GET", self._version.properties))
        found = schema(answer)
        if found is None:
            raise not_hubspot(answer)
        answer.confirm()
        return found


def _portal(details: Answer) -> str | None:
    portal = details.get("portalId")
    if details.status != 200 or not isinstance(portal, int):
        return None
    details.confirm()
    return f"portal {portal}"
