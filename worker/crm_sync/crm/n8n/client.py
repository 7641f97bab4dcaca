"""n8n: a call of a webhook, for one contact or for a list of them.

What an answer proves depends on the webhook's "Respond" option. With "Immediately", n8n answers 200 before the workflow has run,
so a contact counts as delivered even if its run fails later; only "When Last Node Finishes" and "Using Respond to Webhook Node"
report failures. [observed, n8n 2.41]

n8n starts a run for every call. So that a workflow can recognise a flip that was sent twice after a lost answer, each contact
carries an idempotency key, which stays the same across retries and workers as long as its values do. The body is signed and says
when it was sent, because the key alone only protects against replays of the latest call: an older one, taken from a log, would
restore old values. The workflow that `crm-sync n8n-workflow` prints checks all three.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from yarl import URL

from crm_sync.core.codes import Code
from crm_sync.core.outcome import Contact, Deletion
from crm_sync.crm.account import Account, over_http, require_none
from crm_sync.crm.answer import Answer, usable
from crm_sync.crm.client import Client, Entry
from crm_sync.crm.http import Http
from crm_sync.crm.n8n.answers import CHECK, judged, not_ready, unknown_webhook
from crm_sync.crm.n8n.login import Login, read_login, signature
from crm_sync.crm.n8n.settings import N8nSettings
from crm_sync.crm.values import N8N
from crm_sync.environment import read, read_lane
from crm_sync.errors import ConfigurationError, OutageError, RefusedError

# n8n Cloud's proxy gives up after 100 s. A run that waits in n8n's queue is answered late in every mode.
TIMEOUT_S = 60.0
KEY_LENGTH = 32  # hexadecimal digits: half of a SHA-256

DEFAULT_FIELDS = {
    name: name
    for name in (
        *("first_name", "last_name", "phone", "company", "job_title", "website"),
        *("address", "city", "state", "zip", "country"),
    )
}

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_HASHED = json.JSONEncoder(sort_keys=True, default=str)
_URL = re.compile(r"(?P<origin>[^:]*://[^/?#]*)(?P<target>[^#]*)")


def account() -> Account | None:
    """None if none of the settings that a call needs is set. Raises ConfigurationError that names a wrong setting."""
    settings = read(N8nSettings)
    if settings.n8n_webhook_url is None:
        require_none("N8N_WEBHOOK_URL", settings)
        return None
    origin, target = _parts(settings.n8n_webhook_url)
    login = read_login(settings)
    return over_http(
        "n8n",
        partial(N8n, target=target, origin=origin, login=login, batch_limit=read_lane("n8n").batch_size or 1),
        url_setting="N8N_WEBHOOK_URL",
        base_url=origin,
        headers=login.headers,
        default_fields=DEFAULT_FIELDS,
        forms=N8N,
        timeout_s=TIMEOUT_S,
    )


class N8n(Client):
    """One webhook of n8n."""

    concurrency = 16
    adaptive = True
    keeps_records = False

    def __init__(self, http: Http, *, target: str, origin: str, login: Login, batch_limit: int = 1) -> None:
        """target: path and query of the webhook's URL. origin: the part before it. batch_limit: with 1, the body is the contact
        itself.
        """
        self.batch_limit = self.delete_limit = batch_limit
        self._http = http
        self._target = target
        self._prefix = target[: max(target.find("/webhook/"), 0)]  # of an n8n that shares its host with other applications
        self._origin = origin
        self._login = login
        # If a webhook asks for no credentials, its path is the secret: both as configured and as it is in a request.
        http.hide(target[1:], URL(origin + target).raw_path_qs[1:], *login.secrets)

    def key(self, contact: Contact) -> str:
        """The workflow gets the row's key with every contact."""
        return f"contact {contact.id}"

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        return await self._call(contacts, [_entry(contact) for contact in contacts])

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        """Notifies the workflow, with `"event": "deleted"` in each contact. What that means is up to the workflow."""
        entries = [_deleted(deletion) for deletion in deletions]
        contacts = [Contact(one.contact_id, 0, 0, one.remote_id, one.email, one.deleted_at, {}) for one in deletions]
        return await self._call(contacts, entries)

    async def _call(self, contacts: Sequence[Contact], entries: Sequence[dict[str, Any]]) -> Sequence[Entry]:
        keys = [entry["idempotency_key"] for entry in entries]
        sent_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self.batch_limit == 1:
            body, key = {**entries[0], "sent_at": sent_at}, keys[0]
        else:
            body, key = {"sent_at": sent_at, "contacts": entries}, _hash("\n".join(keys))
        # Encoded once: exactly the bytes that are signed are sent.
        payload = _JSON.encode(body).encode()
        headers = {"Idempotency-Key": key}
        if (token := self._login.token()) is not None:
            self._http.hide_token(token)
            headers["Authorization"] = f"Bearer {token}"
        if self._login.signing_secret is not None:
            headers["X-Crm-Sync-Signature"] = signature(payload, self._login.signing_secret)
        answer = await self._http.send("POST", self._target, payload, headers=headers, traced=True)
        return judged(answer, contacts, keys, body, len(payload))

    async def check(self) -> str:
        """Without starting a run. n8n answers a CORS preflight with the methods of a webhook, and asks for no credentials.

        So only the first contact proves the credentials.
        """
        ready = await self._http.send("GET", f"{self._prefix}/healthz/readiness")
        # A proxy that passes on nothing but webhooks can answer this with anything. The webhook itself has the final say.
        if ready.status == 503:
            raise not_ready(ready)
        answer = await self._http.send("OPTIONS", self._target, headers={"Origin": self._origin})
        if answer.status == 404:
            raise unknown_webhook(answer)
        methods = usable(answer, check=CHECK).headers.get("Access-Control-Allow-Methods")
        if methods is None:
            return _unanswered(answer)
        if "POST" not in methods:
            raise RefusedError(Code.INACTIVE, f"n8n has no active workflow for POST at N8N_WEBHOOK_URL, only for {methods}")
        return (
            "an active workflow is listening; the first contact tests the credentials, "
            "because n8n cannot check them without running the workflow"
        )


def _parts(url: str) -> tuple[str, str]:
    """The part before the path, and the path with its query. Raises ConfigurationError if it is not a production URL."""
    match = _URL.fullmatch(url.partition("#")[0])
    origin, target = (match["origin"], match["target"]) if match else (url, "/")
    if match and target.partition("?")[0] in ("", "/"):
        raise ConfigurationError(
            "N8N_WEBHOOK_URL: expected a webhook's production URL, such as https://n8n.example.com/webhook/crm-sync"
        )
    if "/webhook-test/" in target:
        raise ConfigurationError(
            "N8N_WEBHOOK_URL: this is the test URL, which answers only one call: use the webhook's production URL"
        )
    return origin, target


def _entry(contact: Contact) -> dict[str, Any]:
    """A contact as the workflow gets it. Empty fields are not sent, so that no workflow empties a field because of them; null
    means that the workflow is to empty the field.
    """
    return {
        "idempotency_key": idempotency_key(contact),
        "contact_id": str(contact.id),
        "n8n_workflow_id": contact.remote_id or None,
        "email": (contact.email or "").strip(),
        "fields": {**contact.filled, **dict.fromkeys(contact.emptied)},
    }


def _deleted(deletion: Deletion) -> dict[str, Any]:
    """A deleted contact as the workflow gets it. erase: no data about it may stay."""
    deleted_at = deletion.deleted_at.astimezone(UTC).isoformat(timespec="microseconds")
    return {
        "event": "deleted",
        "erase": deletion.erase,
        "idempotency_key": _hash(f"{deletion.contact_id}\ndeleted\n{deleted_at}"),
        "contact_id": deletion.contact_id,
        "n8n_workflow_id": deletion.remote_id,
        "email": (deletion.email or "").strip(),
    }


def idempotency_key(contact: Contact) -> str:
    """Identifies this contact, this flip and the values sent, whichever worker sends it and however often.

    The values are part of it because a flip that no trigger saw keeps the time of the previous one: a workflow would take the new
    values for old ones that it has already handled.
    """
    flipped_at = contact.flipped_at.astimezone(UTC).isoformat(timespec="microseconds")
    values = _HASHED.encode([(contact.email or "").strip(), contact.filled, *contact.emptied])
    return _hash(f"{contact.id}\n{flipped_at}\n{values}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def _unanswered(answer: Answer) -> str:
    """For the check of a webhook behind a proxy that handles OPTIONS itself."""
    if answer.status >= 400 or not answer.text.startswith("<"):
        return (
            f"reached, but whether a workflow listens is not known (OPTIONS was answered {answer.status}): the first contact "
            f"will show"
        )
    raise OutageError(Code.BROKEN_ANSWER, f"what answered OPTIONS with {answer.status} and a page is not n8n: {CHECK}")
