"""The pages: what each shows, and what its forms do."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from crm_sync.api.models import ContactView, State, Wish
from crm_sync.api.requests import Filter, RetryRequest, Selection, Span
from crm_sync.api.routes import Scope
from crm_sync.api.service import Service
from crm_sync.api.tables import NotFoundError
from crm_sync.console.charts import latency_chart, sparkline, throughput_chart
from crm_sync.console.commands import of_change, of_pause, of_resume, of_retry, of_reveal, of_selection
from crm_sync.console.guard import COOKIE, VISITOR, Guard
from crm_sync.console.templating import Pages
from crm_sync.console.timeline import Moment, of_attempt, of_event
from crm_sync.console.tokens import SESSION_S, Visitor
from crm_sync.core.codes import Code
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError, DeclinedError
from crm_sync.postgres.visiting import rights_of
from crm_sync.telling.deeds import CONSOLE, Doer
from crm_sync.telling.event_words import WORDS

PAGE = 50  # contacts or events on one
LONGEST_TIMELINE = 60
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LABELS = {Wish.QUEUED: "Queue", Wish.SELECTED: "Select", Wish.SKIPPED: "Skip", Wish.NEW: "Withdraw"}
CONSEQUENCES = {
    Wish.QUEUED: "They are sent to the CRM.",
    Wish.SELECTED: "Nothing is sent: Selected is a mark of your application's.",
    Wish.SKIPPED: "Nothing is sent, and those in line leave it.",
    Wish.NEW: "Nothing is sent, and those in line leave it.",
}


# By kind of error, the nearest first: status, title, and what is said beside the error.
_TROUBLE: dict[type[CrmSyncError], tuple[int, str, str]] = {
    NotFoundError: (404, "Not found", ""),
    DeclinedError: (409, "Not done", ""),
    ConfigurationError: (500, "Something has to be put right first", ""),
    DatabaseTroubleError: (503, "The database does not answer", " Try again in a moment."),
    CrmSyncError: (500, "Something went wrong", ""),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A line on top of a page. tone: good, bad or still."""

    text: str
    tone: str = "still"


class Console:
    """All pages of one console. signs_out: whether people sign in by a token."""

    def __init__(self, service: Service, pages: Pages, guard: Guard, *, signs_out: bool) -> None:
        self._tables = service.tables
        self._lanes = service.lanes
        self._contacts = service.contacts
        self._events = service.events
        self._changing = service.changing
        self._pages = pages
        self._guard = guard
        self._signs_out = signs_out

    def routes(self) -> list[web.RouteDef]:
        """Below the base path."""
        base = self._guard.base
        return [
            web.get(f"{base}/", self._page(self._overview)),
            web.get(f"{base}/parts/overview", self._page(self._overview_part)),
            web.get(f"{base}/crms/{{crm}}", self._page(self._crm)),
            web.post(f"{base}/crms/{{crm}}", self._page(self._pause, Scope.OPERATE)),
            web.get(f"{base}/contacts", self._page(self._list)),
            web.get(f"{base}/contacts/{{key:.+}}", self._page(self._contact)),
            web.post(f"{base}/contacts/{{key:.+}}/{{crm}}", self._page(self._change, Scope.FLIP)),
            web.post(f"{base}/reveal/{{key:.+}}", self._page(self._reveal, Scope.FLIP)),
            web.post(f"{base}/selections", self._page(self._select, Scope.FLIP)),
            web.get(f"{base}/find", self._page(self._find)),
            web.get(f"{base}/failures", self._page(self._failures)),
            web.post(f"{base}/failures", self._page(self._retry, Scope.OPERATE)),
            web.get(f"{base}/events", self._page(self._happened)),
            web.get(f"{base}/login", self._login),
            web.post(f"{base}/login", self._sign_in),
            web.post(f"{base}/logout", self._sign_out),
        ]

    def _page(self, handler: Handler, scope: Scope = Scope.READ) -> Handler:
        """With the rights of whoever asks. What goes wrong is a page that says what, and what to do."""

        async def page(request: web.Request) -> web.StreamResponse:
            visitor = request[VISITOR]
            if not visitor.may(scope):
                return self._trouble(request, 403, "Not allowed", f"This token lacks the scope {scope.value}.")
            try:
                with rights_of(visitor.role):
                    return await handler(request)
            except CrmSyncError as error:
                status, title, more = next(told for kind, told in _TROUBLE.items() if isinstance(error, kind))
                return self._trouble(request, status, title, f"{_sentence(error)}{more}")

        return page

    # Looking.

    async def _overview(self, request: web.Request) -> web.Response:
        return self._show(request, "overview.html", here="/", **await self._of_overview())

    async def _overview_part(self, request: web.Request) -> web.Response:
        return self._show(request, "overview_part.html", **await self._of_overview())

    async def _of_overview(self) -> dict[str, Any]:
        overview = await self._lanes.overview()
        return {"overview": overview, "sparklines": {one.crm: sparkline(one.last_hour, one.crm) for one in overview.crms}}

    async def _crm(self, request: web.Request) -> web.Response:
        crm = await self._lanes.crm(request.match_info["crm"])
        span = _span(request.query.get("span"))
        throughput = await self._lanes.throughput(crm.crm, span)
        failures = [one for one in await self._lanes.failures() if one.crm == crm.crm]
        story = await self._events.story(crm.crm)
        alive = any(worker.alive for worker in (await self._lanes.overview()).workers)
        try:
            mapping, unmapped = await self._lanes.mapping(crm.crm), None
        except (ConfigurationError, DeclinedError) as error:
            mapping, unmapped = [], _sentence(error)
        return self._show(
            request, "crm.html", crm=crm, failures=failures, span=span.value, spans=[one.value for one in Span],
            throughput=throughput, chart=throughput_chart(throughput), latency=latency_chart(throughput), story=story,
            mapping=mapping, unmapped=unmapped, alive=alive, action=of_resume(crm.crm) if crm.paused_since else of_pause(crm.crm),
        )  # fmt: skip

    async def _list(self, request: web.Request) -> web.Response:
        crms = await self._tables.names()
        if not crms:
            raise DeclinedError("no CRM is installed on the contacts table: run `crm-sync adopt`")
        crm = request.query.get("crm") or crms[0]
        wanted = _filter(request.query)
        after = request.query.get("after") or None
        page = await self._contacts.page(crm, wanted, after=after, limit=PAGE)
        return self._show(
            request, "contacts.html", here="/contacts", crm=crm, crms=crms, state=wanted.state, code=wanted.code, after=after,
            page=page, states=[state.value for state in State], codes=[code.value for code in Code],
            wishes=[(wish.value, label) for wish, label in LABELS.items()],
        )  # fmt: skip

    async def _contact(self, request: web.Request) -> web.Response:
        return await self._show_contact(request, request.match_info["key"])

    async def _show_contact(
        self, request: web.Request, key: str, *, notice: Notice | None = None, revealed: ContactView | None = None
    ) -> web.Response:
        contact = revealed or await self._contacts.one(key)
        tables = await self._tables.whole()
        actions = {
            at.crm: [
                {
                    "wish": wish.value,
                    "label": LABELS[wish],
                    "same": of_change(tables[at.crm].variables, at.crm, contact.key, wish, failed=at.status == State.ERROR),
                }
                for wish in _wishes(at.status)
            ]
            for at in contact.crms
            if at.status is not None and at.crm in tables
        }
        first = next(iter(tables.values()), None)
        return self._show(
            request, "contact.html", contact=contact, actions=actions, revealed=revealed is not None, notice=notice,
            timeline=await self._timeline(contact),
            reveal=None if first is None else of_reveal(first.variables, contact.key),
        )  # fmt: skip

    async def _timeline(self, contact: ContactView) -> list[Moment]:
        """What became of it each time, and what happened to the lanes in between."""
        moments = [of_attempt(one) for one in contact.history]
        began = [at.flipped_at for at in contact.crms if at.flipped_at is not None] + [one.at for one in contact.history]
        if not began:
            return moments
        asked_for = [at.crm for at in contact.crms if at.flipped_at is not None]
        events = await self._events.between(asked_for, min(began))
        return sorted([*moments, *map(of_event, events)], key=lambda moment: moment.at, reverse=True)[:LONGEST_TIMELINE]

    async def _reveal(self, request: web.Request) -> web.Response:
        contact = await self._changing.reveal(request.match_info["key"], _by(request))
        return await self._show_contact(request, contact.key, revealed=contact)

    async def _find(self, request: web.Request) -> web.StreamResponse:
        text = request.query.get("q", "").strip()
        found = await self._contacts.find(text)
        if len(found.keys) == 1:
            raise web.HTTPSeeOther(self._pages.url(f"/contacts/{found.keys[0]}"))
        return self._show(request, "found.html", q=text, found=found)

    async def _failures(self, request: web.Request) -> web.Response:
        return self._show(request, "failures.html", here="/failures", failures=await self._lanes.failures())

    async def _happened(self, request: web.Request) -> web.Response:
        crm, event, after = (request.query.get(name) or None for name in ("crm", "event", "after"))
        page = await self._events.page(crm, event, after=after, limit=PAGE)
        crms = await self._tables.names()
        kinds = [(name, _capital(words)) for name, words in WORDS.items()]
        alerts = await self._events.alerts()
        return self._show(
            request, "events.html", here="/events", page=page, crms=crms, kinds=kinds, alerts=alerts, crm=crm, event=event,
            after=after,
        )  # fmt: skip

    # Changing.

    async def _change(self, request: web.Request) -> web.StreamResponse:
        key, crm = request.match_info["key"], request.match_info["crm"]
        wish = _wish((await request.post()).get("status"))
        done = await self._changing.change(key, crm, wish, _by(request))
        if done.changed:
            notice = Notice(f"{crm}: the status is now {wish.value}.", "good")
        elif done.locked:
            notice = Notice(f"{crm}: another transaction has locked the contact. Try again in a moment.", "bad")
        elif done.refused:
            notice = Notice(f"{crm}: the contacts table refused the change: {done.refusal}", "bad")
        else:
            notice = Notice(f"{crm}: nothing to change, the contact is {wish.value} already.")
        return await self._show_contact(request, key, notice=_with(notice, done.note))

    async def _select(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        wanted, wish, crm = _filter(form), _wish(form.get("status")), str(form.get("crm", ""))
        confirmed, after = form.get("confirm") == "yes", str(form.get("after") or "") or None
        selection = Selection(crm=crm, status=wish, where=wanted, dry_run=not confirmed, after=after)
        result = await self._changing.select(selection, _by(request))
        asked = {"crm": crm, "state": wanted.state, "code": wanted.code}
        if not result.dry_run:
            notice = Notice(_became(result.changed, result.locked, result.refused, result.refusal), "good")
            back = self._pages.url("/contacts", **asked)
            more = {**asked, "status": wish.value, "after": result.next} if result.next else None
            return self._show(request, "done.html", notice=_with(notice, result.note), back=back, more=more)
        tables = await self._tables.whole()
        return self._show(
            request, "selection.html", preview=result, crm=crm, state=wanted.state, code=wanted.code, label=LABELS[wish],
            consequence=CONSEQUENCES[wish], same_as=of_selection(tables[crm].variables, wish, wanted),
        )  # fmt: skip

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        crm, code, confirmed = str(form.get("crm", "")), str(form.get("code", "")), form.get("confirm") == "yes"
        if confirmed:
            result = await self._changing.retry(RetryRequest(crm=crm, codes=[code], dry_run=False), _by(request))
            notice = Notice(_became(result.flipped, result.locked, result.refused, result.refusal), "good")
            back = self._pages.url("/failures")
            return self._show(request, "done.html", notice=_with(notice, result.note), back=back, more=None)
        variables = (await self._tables.table(crm)).variables
        failed = next((one for one in await self._lanes.failures() if (one.crm, one.code) == (crm, code)), None)
        same_as = of_retry(variables, crm, code)
        return self._show(request, "retry.html", failed=failed, crm=crm, code=code, same_as=same_as)

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        crm = request.match_info["crm"]
        match form.get("act"):
            case "pause":
                await self._changing.pause(crm, str(form.get("reason", "")), _by(request))
            case "resume":
                await self._changing.resume(crm, _by(request))
            case _:
                raise DeclinedError("the form says neither pause nor resume")
        raise web.HTTPSeeOther(self._pages.url(f"/crms/{crm}"))

    # Signing in.

    async def _login(self, request: web.Request) -> web.Response:
        """By the form, or by the link that a terminal shows."""
        token = request.query.get("token")
        if token is not None:
            return self._enter(request, token, "/")
        return self._show(request, "login.html", next=_inner(request.query.get("next", "/")), wrong=False)

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        return self._enter(request, str(form.get("token", "")), _inner(str(form.get("next", "/"))))

    def _enter(self, request: web.Request, token: str, following: str) -> web.Response:
        visitor = self._guard.tokens.visitor(token.strip())
        if visitor is None:
            return self._show(request, "login.html", status=401, next=following, wrong=True)
        response = web.HTTPSeeOther(f"{self._guard.base}{following}")
        response.set_cookie(
            COOKIE,
            self._guard.tokens.cookie(visitor, time.time()),
            path=f"{self._guard.base}/",
            max_age=SESSION_S,
            httponly=True,
            samesite="Strict",
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        raise response

    async def _sign_out(self, _request: web.Request) -> web.StreamResponse:
        response = web.HTTPSeeOther(self._pages.url("/login"))
        response.del_cookie(COOKIE, path=f"{self._guard.base}/")
        raise response

    # Drawing.

    def _show(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        visitor: Visitor | None = request.get(VISITOR)
        common = {"visitor": visitor, "here": "", "notice": None, "signs_out": self._signs_out, "now": datetime.now(UTC)}
        text = self._pages.render(template, {**common, **values})
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)

    def _trouble(self, request: web.Request, status: int, title: str, detail: str) -> web.Response:
        return self._show(request, "trouble.html", status=status, title=title, detail=detail)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{_capital(text)}{'' if text.endswith('.') else '.'}"


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _filter(form: Mapping[str, Any]) -> Filter:
    """Raises DeclinedError for a state that there is not."""
    state, code = str(form.get("state") or ""), str(form.get("code") or "").strip()
    if state and state not in list(State):
        raise DeclinedError(f"the state must be one of {', '.join(State)}")
    if len(code) > 40:
        raise DeclinedError("a code has at most 40 characters")
    return Filter(state=State(state) if state else None, code=code or None)


def _wish(status: Any) -> Wish:
    if status not in list(Wish):
        raise DeclinedError(f"the status must be one of {', '.join(Wish)}")
    return Wish(status)


def _wishes(status: str) -> list[Wish]:
    """What may become of it, the likeliest first."""
    return [wish for wish in (Wish.QUEUED, Wish.SKIPPED, Wish.SELECTED, Wish.NEW) if wish.value != status]


def _by(request: web.Request) -> Doer:
    return Doer(request[VISITOR].name, CONSOLE)


def _with(notice: Notice, note: str | None) -> Notice:
    return notice if note is None else Notice(f"{notice.text} {note}", "wait")


def _span(text: str | None) -> Span:
    if text is not None and text not in list(Span):
        raise DeclinedError(f"the span must be one of {', '.join(Span)}")
    return Span(text or Span.HOUR)


def _became(changed: int, locked: int, refused: int, refusal: str | None) -> str:
    said = [f"{changed:,} contact{'' if changed == 1 else 's'} changed."]
    if locked:
        said.append(f"{locked:,} locked by another transaction all the time, and left as they are.")
    if refused:
        said.append(f"{refused:,} refused by the contacts table itself: {refusal}.")
    return " ".join(said)


def _inner(path: str) -> str:
    """A path of ours, and never another host's."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
