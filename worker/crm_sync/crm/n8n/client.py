"""n8n: a call of a webhook, for one contact or for a list of them.

What a call proves depends on the webhook's "Respond". With "Immediately" n8n answers 200 before the workflow has run, so that a
contact counts as delivered although its run fails later; only "When Last Node Finishes" and "Using Respond to Webhook Node" tell
of failures. [measured, n8n 2.41]

n8n starts a run for every call. So that a workflow can tell the same flip sent twice, an answer having been lost, each contact
carries an idempotency key, the same over retries and workers while its values are. The body is signed, and says when it was sent,
because the key alone protects from copies of the latest call only: an older one, sent again by somebody who has it from a log,
would put old values back. The workflow that `crm-sync n8n-workflow` prints checks all three.
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

# n8n Cloud's proxy gives up after 100 s. A run that waits for others in n8n's queue is answered late in every mode.
TIMEOUT_S = 60.0
KEY_LENGTH = 32  # hexadecimal digits, half of a SHA-256

DEFAULT_FIELDS = {
    name: name
    for name in (
        *("first_name", "last_name", "phone", "company", "job_title", "website"),
        *("address", "city", "state", "zip", "country"),
    )
}

_URL = re.compile(r"(?P<origin>[^:]*://[^/?#]*)(?P<target>[^#]*)")


def account() -> Account | None:
    """None if nothing is set that a call needs. Raises ConfigurationError naming a wrong setting."""
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
        """target: path and query of the webhook's URL; origin: what comes before it. batch_limit: with 1 a contact is the
        body.
        """
        self.batch_limit = self.delete_limit = batch_limit
        self._http = http
        self._target = target
        self._prefix = target[: max(target.find("/webhook/"), 0)]  # of an n8n that does not have the host for itself
        self._origin = origin
        self._login = login
        # Where a webhook asks for no credentials, its path is the secret: as it was set, and as it is in a request.
        http.hide(target[1:], URL(origin + target).raw_path_qs[1:], *login.secrets)

    async def deliver(self, contacts: Sequence[Contact]) -> Sequence[Entry]:
        return await self._call(contacts, [_entry(contact) for contact in contacts])

    async def delete(self, deletions: Sequence[Deletion]) -> Sequence[Entry]:
        """Tells the workflow, with `"event": "deleted"` in each contact. What that means is the workflow's affair."""
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
        # Made once: the very bytes that are signed are sent.
        payload = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        headers = {"Idempotency-Key": key}
        if (token := self._login.token()) is not None:
            self._http.hide_token(token)
            headers["Authorization"] = f"Bearer {token}"
        if self._login.signing_secret is not None:
            headers["X-Crm-Sync-Signature"] = signature(payload, self._login.signing_secret)
        answer = await self._http.send("POST", self._target, payload, headers=headers, traced=True)
        return judged(answer, contacts, keys, body, len(payload))

    async def check(self) -> str:
        """Without a run. n8n tells a browser of another site which methods a webhook has, and asks for no credentials then.

        So the credentials are proved by the first contact only.
        """
        ready = await self._http.send("GET", f"{self._prefix}/healthz/readiness")
        # Where a proxy hands on nothing but webhooks, this is answered with anything. The webhook itself has the last word.
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
    """What stands before the path, and the path with its query. Raises ConfigurationError for what is no production URL."""
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
    """A contact as the workflow gets it. What is empty is not sent, so that no workflow empties a field by it; null is what a
    workflow is to empty.
    """
    return {
        "idempotency_key": idempotency_key(contact),
        "contact_id": str(contact.id),
        "n8n_workflow_id": contact.remote_id or None,
        "email": (contact.email or "").strip(),
        "fields": {**contact.filled, **dict.fromkeys(contact.emptied)},
    }


def _deleted(deletion: Deletion) -> dict[str, Any]:
    """A deleted contact as the workflow gets it. erase: nothing of it may stay."""
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
    """Of this contact, this flip and what is sent of it, no matter who sends it and how often.

    The values are part of it because a flip that no trigger saw leaves the time of the previous one in the row: a workflow would
    take new values for the old ones that it has handled.
    """
    flipped_at = contact.flipped_at.astimezone(UTC).isoformat(timespec="microseconds")
    values = json.dumps([(contact.email or "").strip(), contact.filled, *contact.emptied], sort_keys=True, default=str)
    return _hash(f"{contact.id}\n{flipped_at}\n{values}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def _unanswered(answer: Answer) -> str:
    """The check of a webhook behind a proxy that keeps OPTIONS to itself."""
    if answer.status >= 400 or not answer.text.startswith("<"):
        return (
            f"reached, but whether a workflow listens is not known (OPTIONS was answered {answer.status}): the first contact "
            f"will show"
        )
    raise OutageError(Code.BROKEN_ANSWER, f"what answered OPTIONS with {answer.status} and a page is not n8n: {CHECK}")
