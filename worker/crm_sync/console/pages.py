"""The pages that only show something."""

from typing import Any

from aiohttp import web

from crm_sync.api.contact_models import ContactView, State
from crm_sync.api.requests import Span
from crm_sync.api.routes import Scope
from crm_sync.api.service import Service
from crm_sync.api.tables import NotFoundError
from crm_sync.console.asked import CONSEQUENCES, LABELS, failed_of, filter_of, span_of, wishes
from crm_sync.console.charts import latency_chart, sparkline, throughput_chart
from crm_sync.console.commands import of_change, of_pause, of_resume, of_reveal
from crm_sync.console.drawing import Drawing, capital, sentence
from crm_sync.console.followed import Turns, mark_of_page, mark_of_rows, pending
from crm_sync.console.guard import VISITOR
from crm_sync.console.said_fields import Said, SaidFields
from crm_sync.console.searches import Searches
from crm_sync.console.timeline import Moment, of_attempt, of_event
from crm_sync.core.codes import Code, known_code
from crm_sync.errors import ConfigurationError, DeclinedError
from crm_sync.telling.event_words import WORDS

KEY = "{key:(?s:.+)}"  # in a path, including slashes and line breaks
PAGE = 50  # contacts or events on one page
LONGEST_TIMELINE = 60
SPANS = {Span.HOUR.value: "the last hour", Span.DAY.value: "the last 24 hours", Span.FORTNIGHT.value: "the last 14 days"}


class LookingPages:
    """Nothing here changes anything. said: what CRMs have said of their fields."""

    def __init__(self, service: Service, drawing: Drawing, said: SaidFields, searches: Searches) -> None:
        self._tables = service.tables
        self._lanes = service.lanes
        self._contacts = service.contacts
        self._events = service.events
        self._rights = service.rights
        self._drawing = drawing
        self._said = said
        self._searches = searches
        self._turns = Turns()

    def routes(self, base: str) -> list[web.RouteDef]:
        """base: the path before each."""
        shown = {
            "/": self._overview,
            "/parts/overview": self._overview_part,
            "/crms/{crm}": self._crm,
            "/contacts": self._list,
            f"/contacts/{KEY}": self._contact,
            f"/parts/contacts/{KEY}": self._contact_part,
            "/find": self._find,
            "/failures": self._failures,
            "/events": self._happened,
        }
        return [web.get(f"{base}{path}", self._drawing.guarded(handler)) for path, handler in shown.items()]

    async def _overview(self, request: web.Request) -> web.Response:
        return self._drawing.show(request, "overview.html", here="/", **await self._of_overview())

    async def _overview_part(self, request: web.Request) -> web.Response:
        """Nothing, as long as it was not read again: who listens to the page, or has selected a part of it, keeps the place."""
        values = await self._of_overview()
        if request.query.get("seen") == values["overview"].read_at.isoformat():
            return web.Response(status=204)
        return self._drawing.show(request, "overview_part.html", **values)

    async def _of_overview(self) -> dict[str, Any]:
        overview = await self._lanes.overview()
        return {"overview": overview, "sparklines": {one.crm: sparkline(one.last_hour, one.crm) for one in overview.crms}}

    async def _crm(self, request: web.Request) -> web.Response:
        crm = await self._lanes.crm(request.match_info["crm"])
        span = span_of(request.query.get("span"))
        throughput = await self._lanes.throughput(crm.crm, span)
        failures = [one for one in await self._lanes.failures() if one.crm == crm.crm]
        alerts = [one for one in (await self._lanes.overview()).alerts if one.crm == crm.crm]
        failed = sum(one.retried + one.rejected for one in throughput.stretches)
        story = await self._events.story(crm.crm)
        try:
            mapping, unmapped = await self._lanes.mapping(crm.crm), None
        except (ConfigurationError, DeclinedError) as error:
            mapping, unmapped = [], sentence(error)
        return self._drawing.show(
            request, "crm.html", crm=crm, alerts=alerts, failures=failures, failed=failed, within=SPANS[span], span=span.value,
            spans=[one.value for one in Span],
            throughput=throughput, chart=throughput_chart(throughput), latency=latency_chart(throughput), story=story,
            mapping=mapping, said=self._said_to(request), unmapped=unmapped, lacking=await self._rights.lacking(),
            action=of_resume(crm.crm) if crm.paused_since else of_pause(crm.crm),
        )  # fmt: skip

    async def _list(self, request: web.Request) -> web.Response:
        crms = await self._tables.names()
        if not crms:
            raise DeclinedError("no CRM is installed on the contacts table: run `crm-sync adopt`")
        crm = request.query.get("crm") or crms[0]
        wanted, failed = filter_of(request.query), failed_of(request.query.get("failed"))
        after = request.query.get("after") or None
        within_s = None if failed is None else failed.seconds
        page = await self._contacts.page(crm, wanted, failed_within_s=within_s, after=after, limit=PAGE)
        return self._drawing.show(
            request, "contacts.html", here="/contacts", crm=crm, crms=crms, state=wanted.state, code=wanted.code, after=after,
            page=page, states=[state.value for state in State], codes=[code.value for code in Code],
            lacking=await self._rights.lacking(), wishes=[(wish.value, label) for wish, label in LABELS.items()],
            most=PAGE, failed=failed and failed.value, spans=SPANS, known=known_code(wanted.code or ""),
        )  # fmt: skip

    async def _contact(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        with self._drawing.revealing(request) as is_revealed:
            try:
                contact = await self._contacts.one(key, in_full=is_revealed)
            except NotFoundError:
                name, _, crm = key.rpartition("/")
                if not name or crm not in await self._tables.names():
                    raise
                self._drawing.lead(request, self._drawing.page_of(name))  # the address of a form
            values = await self._of_contact(request, contact, is_revealed=is_revealed)
            return self._drawing.show(request, "contact.html", **values)

    async def _contact_part(self, request: web.Request) -> web.Response:
        """For a page that waits: nothing, as long as nothing has happened."""
        key, seen = request.match_info["key"], request.query.get("seen")
        with self._turns.turn(request.path) as is_ours:
            if not is_ours:
                return web.Response(status=204)
            try:
                rows = await self._contacts.standing(key, request.query.get("at", "").split(","))
                if mark_of_rows(rows) == seen:
                    return web.Response(status=204)
                contact = await self._contacts.one(key)
            except NotFoundError:  # deleted meanwhile, or a reference of another start: the page says so
                return web.Response(status=204, headers={"HX-Refresh": "true"})
            values = await self._of_contact(request, contact, is_revealed=False)
        return self._drawing.show(request, "contact_part.html", **{**values, "is_told": True})

    async def _of_contact(self, request: web.Request, contact: ContactView, *, is_revealed: bool) -> dict[str, Any]:
        tables = await self._tables.whole()
        told = contact.key if is_revealed else self._drawing.shown(contact.key)
        actions = {
            at.crm: [
                {
                    "wish": wish.value,
                    "label": LABELS[wish],
                    "consequence": CONSEQUENCES[wish],
                    "same": of_change(tables[at.crm].variables, at.crm, told, wish, failed=at.status == State.ERROR),
                }
                for wish in wishes(at.status)
            ]
            for at in contact.crms
            if at.status is not None and at.crm in tables
        }
        first = next(iter((await self._tables.countable()).values()))
        return {
            "contact": contact,
            "actions": actions,
            "revealed": is_revealed,
            "said": self._said_to(request),
            "timeline": await self._timeline(contact),
            "lacking": await self._rights.lacking(),
            "reference": self._drawing.reference(contact.key),
            "reveal": of_reveal(first.variables, told),
            "pending": [] if is_revealed else pending(contact),
            "seen": mark_of_page(contact),
            "is_told": False,
        }

    def _said_to(self, request: web.Request) -> Said | None:
        """What the CRM that the address names has said, to who may ask it."""
        crm = request.query.get("said")
        return self._said.last(crm) if crm is not None and request[VISITOR].may(Scope.FLIP) else None

    async def _timeline(self, contact: ContactView) -> list[Moment]:
        """Its outcomes, and what happened to the lanes in between."""
        moments = [of_attempt(one) for one in contact.history]
        began = [at.flipped_at for at in contact.crms if at.flipped_at is not None] + [one.at for one in contact.history]
        if not began:
            return moments
        asked_for = [at.crm for at in contact.crms if at.flipped_at is not None]
        events = await self._events.between(asked_for, min(began))
        return sorted([*moments, *map(of_event, events)], key=lambda moment: moment.at, reverse=True)[:LONGEST_TIMELINE]

    async def _find(self, request: web.Request) -> web.StreamResponse:
        """The form leads here with a sealed text. Links of other programs have it as it is, for a key or an id of a CRM."""
        sealed = request.query.get("search")
        text = request.query.get("q", "") if sealed is None else self._searches.opened(sealed)
        found = await self._contacts.find(text, whole=request.query.get("whole") == "yes")
        if len(found.keys) == 1:
            raise web.HTTPSeeOther(self._drawing.page_of(found.keys[0]))
        return self._drawing.show(request, "found.html", q=text, found=found)

    async def _failures(self, request: web.Request) -> web.Response:
        return self._drawing.show(
            request, "failures.html", here="/failures", failures=await self._lanes.failures(),
            lacking=await self._rights.lacking(),
        )  # fmt: skip

    async def _happened(self, request: web.Request) -> web.Response:
        crm, event, after = (request.query.get(name) or None for name in ("crm", "event", "after"))
        page = await self._events.page(crm, event, after=after, limit=PAGE)
        crms = await self._tables.names()
        kinds = [(name, capital(words)) for name, words in WORDS.items()]
        alerts = await self._events.alerts()
        return self._drawing.show(
            request, "events.html", here="/events", page=page, crms=crms, kinds=kinds, alerts=alerts, crm=crm, event=event,
            after=after,
        )  # fmt: skip
