"""A fake n8n: one published workflow behind a webhook, with n8n's ways of answering, refusing and starting.

Statuses and texts were observed on n8n 2.41 or read in its sources, and so was the order of checks: path and method, then the
body, then the caller, then the run. A guess: the workflow's own refusal of a signature, taken from the workflow that crm-sync
includes.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jwt
from aiohttp import web

from crm_sync.sandbox.n8n.workflow import Workflow, contacts_in
from crm_sync.sandbox.server import CONTROL, Answer, Call, Sandbox

PATH = "crm-sync"
WEBHOOK, TEST_WEBHOOK = "/webhook/", "/webhook-test/"
PAYLOAD_LIMIT_BYTES = 16 * 1024 * 1024  # the default of N8N_PAYLOAD_SIZE_MAX
HTML = {"Content-Type": "text/html; charset=utf-8"}
INACTIVE_HINT = (
    "The workflow must be active for a production URL to run successfully. You can activate the workflow using the toggle in"
    " the top-right of the editor. Note that unlike test URL calls, production URL calls aren't shown on the canvas (only in the"
    " executions list)"
)
TEST_HINT = (
    "Click the 'Execute workflow' button on the canvas, then try again. (In test mode, the webhook only works for one call after"
    " you click this button)"
)

# "Immediately"; "When Last Node Finishes" with the first or all entries; "Using Respond to Webhook Node".
Mode = Literal["onReceived", "lastNode", "lastNode-all", "responseNode"]
Authentication = Literal["none", "header", "basic", "jwt"]
# The stages of a start, in order; "active" is the last. An n8n whose workflow is not published stays "inactive".
Phase = Literal["migrating", "starting", "inactive", "active"]


class N8nSandbox(Sandbox):
    """authentication: with credentials, which are (name, value) of a header, (user, password), or (passphrase,) of HS256; None
    for a node without its credential.

    signing_secret: what the workflow checks the body with. concurrency_limit: runs at a time; further calls wait, in every mode.
    run_s: seconds a run takes. ignore_bots, allows_address and runs_only_if: the webhook's options Ignore Bots, IP(s) Allowlist
    and Only Run If. answers_id: an immediate answer has the execution's id, as option Response Data can have it.
    """

    def __init__(
        self,
        *,
        mode: Mode = "responseNode",
        concurrency_limit: int | None = None,
        run_s: float = 0.0,
        port: int = 0,
        keep_log: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(port=port, keep_log=keep_log, clock=clock)
        self.mode: Mode = mode
        self.authentication: Authentication = "none"
        self.credentials: Sequence[str] | None = None
        self.signing_secret: str | None = None
        self.run_s = run_s
        self.payload_limit_bytes = PAYLOAD_LIMIT_BYTES
        self.phase: Phase = "active"
        self.method = "POST"
        self.ignore_bots = False
        self.allows_address = True
        self.runs_only_if = True
        self.answers_id = False
        self.workflow = Workflow()
        self._slots = None if concurrency_limit is None else asyncio.Semaphore(concurrency_limit)

    def arrivals(self) -> list[tuple[str, float]]:
        """From the log: each email address in a body, and when it first arrived (seconds since 1970)."""
        first: dict[str, float] = {}
        for request in self.requests:
            for contact in contacts_in(request.body) or ():
                if isinstance(email := contact["email"], str):
                    first[email.lower()] = min(request.wall_s, first.get(email.lower(), request.wall_s))
        return list(first.items())

    def stats(self) -> dict[str, Any]:
        """n8n has no rate limit, so no limit is ever exceeded."""
        return {
            **super().stats(),
            "contacts": len(self.workflow.contacts),
            "executions": len(self.workflow.executions),
            "failed_executions": sum(execution.status == "error" for execution in self.workflow.executions),
            "duplicates": self.workflow.duplicates,
            "limit_breaches": 0,
        }

    def table(self, name: str) -> Sequence[Any] | None:
        match name:
            case "contacts":
                return list(self.workflow.contacts.values())
            case "executions":
                return self.workflow.executions
            case "arrivals":
                return self.arrivals()
        return super().table(name)

    def throttled(self) -> Answer:
        """n8n never sends a 429, but a proxy in front of it can."""
        return Answer(503, b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>", HTML)

    def refused(self) -> Answer:
        """The answer of a workflow through a Respond to Webhook node with its own status."""
        return Answer(400, {"error": "the workflow takes no such contact"})

    def respond(self, call: Call) -> Answer:
        if call.path in ("/healthz", "/healthz/readiness") and call.method == "GET":
            ready = call.path == "/healthz" or self.phase in ("inactive", "active")
            return Answer(200, {"status": "ok"}) if ready else Answer(503, {"status": "error"})
        if self.phase == "migrating":
            return Answer(200, b"n8n is starting up. Please wait", HTML)
        if self.phase == "starting" or not call.path.startswith((WEBHOOK, TEST_WEBHOOK)):
            page = f"<!DOCTYPE html>\n<html><body><pre>Cannot {call.method} {call.path}</pre></body></html>\n"
            return Answer(404, page.encode(), HTML)
        return self._preflight(call) if call.method == "OPTIONS" else self._call_webhook(call)

    def _methods(self, call: Call) -> list[str]:
        """Those registered for the path."""
        return [self.method] if self.phase == "active" and call.path == f"{WEBHOOK}{PATH}" else []

    def _preflight(self, call: Call) -> Answer:
        if "Origin" not in call.headers:
            return Answer(204)
        return Answer(204, None, {"Access-Control-Allow-Methods": ", ".join(["OPTIONS", *self._methods(call)])})

    def _call_webhook(self, call: Call) -> Answer:
        methods = self._methods(call)
        if call.method not in methods:
            return _not_registered(call, methods)
        if int(call.headers.get("Content-Length", 0)) > self.payload_limit_bytes:
            return Answer(500, {"code": 0, "message": "There was a problem executing the workflow"})
        if isinstance(call.body, bytes):
            hint = "Unexpected token in JSON"
            return Answer(422, {"code": 422, "message": "Failed to parse request body", "hint": hint})
        if (refusal := self._refusal(call)) is not None:
            status, text = refusal
            return Answer(status, text.encode(), {"WWW-Authenticate": 'Basic realm="Webhook"'})
        if not self.runs_only_if:
            return Answer(200, {"message": "Webhook call received"})
        return self._run(call)

    def _refusal(self, call: Call) -> tuple[int, str] | None:
        """Status and text for a caller who is not allowed."""
        if not self.allows_address:
            return 403, "IP is not allowed to access the webhook!"
        # The real check knows many bots by name, and takes anything of the form name/version for a bot.
        agent = call.headers.get("User-Agent", "")
        if self.ignore_bots and agent and not agent.startswith("Mozilla/"):
            return 403, "Authorization data is wrong!"
        if self.authentication == "none":
            return None
        if self.credentials is None:
            return 500, "No authentication data defined on node!"
        return AUTHENTICATIONS[self.authentication](call.headers, self.credentials)

    def _run(self, call: Call) -> Answer:
        if self.signing_secret is not None and not self._is_signed(call, self.signing_secret):
            return Answer(401, {"error": "the signature is wrong"})
        execution, items = self.workflow.run(call.body, call.headers)
        if self.mode == "onReceived":
            return Answer(200, {"execution_id": execution.id} if self.answers_id else {"message": "Workflow was started"})
        if execution.status == "error":
            return Answer(500, {"message": "Error in workflow"})
        if self.mode == "responseNode":
            return Answer(200, {"execution_id": execution.id, "contacts": items})
        if self.mode == "lastNode-all":
            return Answer(200, items)
        return Answer(200, items[0]) if items else Answer(500, {"code": 0, "message": "No item to return was found"})

    def _is_signed(self, call: Call, secret: str) -> bool:
        # A Call has the body parsed. A client that sends compact JSON with unchanged member order has sent exactly these bytes.
        body = json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()
        wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(wanted, call.headers.get("X-Crm-Sync-Signature", ""))

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """If runs are limited, it first takes a place among them. A call answered at once leaves its run in that place."""
        if self._slots is None and not self.run_s:
            return await super().serve(request)
        if not request.path.startswith(WEBHOOK) or request.path.startswith(CONTROL) or request.method == "OPTIONS":
            return await super().serve(request)
        await request.read()
        slots = self._slots or asyncio.Semaphore()
        await slots.acquire()
        try:
            response = await super().serve(request)
        finally:  # counted from here, so that no run is shorter than run_s, however late this process is
            asyncio.get_running_loop().call_later(self.run_s, slots.release)
        if self.mode != "onReceived":
            await asyncio.sleep(self.run_s)
        return response


def _not_registered(call: Call, methods: Sequence[str]) -> Answer:
    if methods:
        words = f"This webhook is not registered for {call.method} requests. Did you mean to make a {methods[0]} request?"
        return Answer(404, {"code": 404, "message": words})
    test = call.path.startswith(TEST_WEBHOOK)
    path = call.path.removeprefix(TEST_WEBHOOK if test else WEBHOOK)
    named = path if test else f"{call.method} {path}"
    hint = TEST_HINT if test else INACTIVE_HINT
    return Answer(404, {"code": 404, "message": f'The requested webhook "{named}" is not registered.', "hint": hint})


def _header_refusal(headers: Mapping[str, str], credentials: Sequence[str]) -> tuple[int, str] | None:
    name, value = credentials
    return None if headers.get(name) == value else (403, "Authorization data is wrong!")


def _basic_refusal(headers: Mapping[str, str], credentials: Sequence[str]) -> tuple[int, str] | None:
    given = headers.get("Authorization")
    if given is None:
        return 401, "Authorization is required!"
    wanted = base64.b64encode(":".join(credentials).encode()).decode()
    return None if given == f"Basic {wanted}" else (401, "Authentication data is wrong!")


def _jwt_refusal(headers: Mapping[str, str], credentials: Sequence[str]) -> tuple[int, str] | None:
    token = headers.get("Authorization", "").partition(" ")[2]
    if not token:
        return 401, "No token provided"
    try:
        jwt.decode(token, credentials[0], algorithms=["HS256"], options={"verify_iat": False})
    except jwt.ExpiredSignatureError:
        return 403, "jwt expired"
    except jwt.InvalidSignatureError:
        return 403, "invalid signature"
    except jwt.InvalidTokenError:
        return 403, "invalid token"
    return None


AUTHENTICATIONS: Mapping[str, Callable[[Mapping[str, str], Sequence[str]], tuple[int, str] | None]] = {
    "header": _header_refusal,
    "basic": _basic_refusal,
    "jwt": _jwt_refusal,
}
