"""What the forms of the pages do. Each leads to a page that is only looked at and says what was done: to load that again sends
nothing again.
"""

from aiohttp import web

from crm_sync.api.requests import RetryRequest, Selection
from crm_sync.api.routes import Scope
from crm_sync.api.service import Service
from crm_sync.console.asked import filter_of, wish_of
from crm_sync.console.drawing import Drawing, Notice
from crm_sync.console.guard import VISITOR
from crm_sync.console.pages import KEY
from crm_sync.console.said_fields import SaidFields
from crm_sync.console.searches import Searches
from crm_sync.errors import DeclinedError
from crm_sync.telling.deeds import CONSOLE, Doer


class Forms:
    """said: what CRMs say of their fields is kept there."""

    def __init__(self, service: Service, drawing: Drawing, said: SaidFields, searches: Searches) -> None:
        self._fields = service.fields
        self._changing = service.changing
        self._drawing = drawing
        self._said = said
        self._searches = searches

    def routes(self, base: str) -> list[web.RouteDef]:
        """base: the path before each."""
        done = {
            f"/contacts/{KEY}/{{crm}}": (self._change, Scope.FLIP),
            "/fields/{crm}": (self._ask, Scope.FLIP),
            f"/reveal/{KEY}": (self._reveal, Scope.FLIP),
            "/find": (self._search, Scope.READ),
            "/selections": (self._select, Scope.FLIP),
            "/failures": (self._retry, Scope.OPERATE),
            "/crms/{crm}": (self._pause, Scope.OPERATE),
        }
        return [web.post(f"{base}{path}", self._drawing.guarded(handler, scope)) for path, (handler, scope) in done.items()]

    async def _reveal(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        await self._changing.note_reveal(key, _by(request))
        self._drawing.lead(request, self._drawing.page_of(key), reveals=True)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        """Shown where the button is: on the page of a contact, or of the CRM."""
        said = await self._fields.ask(request.match_info["crm"], _by(request))
        self._said.keep(said)
        notice = None if said.note is None else Notice(said.note, "wait")
        key = str((await request.post()).get("key", ""))
        where = self._drawing.page_of(key, said=said.crm) if key else self._drawing.url(f"/crms/{said.crm}", said=said.crm)
        self._drawing.lead(request, f"{where}#said", notice)

    async def _search(self, request: web.Request) -> web.StreamResponse:
        """Changes nothing. It is a form that is posted so that what is looked for is in no address."""
        form = await request.post()
        search, whole = self._searches.sealed(str(form.get("q", ""))), "yes" if form.get("whole") == "yes" else None
        self._drawing.lead(request, self._drawing.url("/find", search=search, whole=whole))

    async def _change(self, request: web.Request) -> web.StreamResponse:
        key, crm = request.match_info["key"], request.match_info["crm"]
        wish = wish_of((await request.post()).get("status"))
        done = await self._changing.change(key, crm, wish, _by(request))
        if done.changed:
            notice = Notice(f"{crm}: the status is now {wish.value}.", "good")
        elif done.locked:
            notice = Notice(f"{crm}: another transaction has locked the contact. Try again in a moment.", "bad")
        elif done.refused:
            notice = Notice(f"{crm}: the contacts table refused the change: {done.refusal}", "bad")
        else:
            notice = Notice(f"{crm}: nothing to change, the contact is {wish.value} already.")
        self._drawing.lead(request, self._drawing.page_of(key), notice.with_note(done.note))

    async def _select(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        wanted, wish, crm = filter_of(form), wish_of(form.get("status")), str(form.get("crm", ""))
        after = str(form.get("after") or "") or None
        asked = {"crm": crm, "state": wanted.state, "code": wanted.code}
        if form.get("confirm") != "yes":
            self._drawing.lead(request, self._drawing.url("/selections", status=wish.value, after=after, **asked))
        selection = Selection(crm=crm, status=wish, where=wanted, dry_run=False, after=after)
        result = await self._changing.select(selection, _by(request))
        notice = _became(result.changed, result.locked, result.refused, result.refusal).with_note(result.note)
        if result.next is not None:
            where = self._drawing.url("/selections", status=wish.value, after=result.next, **asked)
        else:
            where = self._drawing.url("/contacts", **asked)
        self._drawing.lead(request, where, notice)

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        crm, code = str(form.get("crm", "")), str(form.get("code", ""))
        if not crm.strip() or not code.strip():
            raise DeclinedError("the form names no CRM, or no code")
        preview = self._drawing.url("/retry", crm=crm, code=code)
        if form.get("confirm") != "yes":
            self._drawing.lead(request, preview)
        result = await self._changing.retry(RetryRequest(crm=crm, codes=[code], dry_run=False), _by(request))
        notice = _became(result.flipped, result.locked, result.refused, result.refusal).with_note(result.note)
        self._drawing.lead(request, preview if result.more else self._drawing.url("/failures"), notice)

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        crm = request.match_info["crm"]
        match form.get("act"):
            case "pause":
                paused = await self._changing.pause(crm, str(form.get("reason", "")), _by(request))
                notice = Notice(f"{crm} is paused.", "good") if paused.note is None else Notice(paused.note, "wait")
            case "resume":
                await self._changing.resume(crm, _by(request))
                notice = Notice(f"{crm} is resumed.", "good")
            case _:
                raise DeclinedError("the form says neither pause nor resume")
        self._drawing.lead(request, self._drawing.url(f"/crms/{crm}"), notice)


def _by(request: web.Request) -> Doer:
    return Doer(request[VISITOR].name, CONSOLE)


def _became(changed: int, locked: int, refused: int, refusal: str | None) -> Notice:
    said = [f"{changed:,} contact{'' if changed == 1 else 's'} changed."]
    if locked:
        said.append(f"{locked:,} locked by another transaction throughout, and left as they are.")
    if refused:
        said.append(f"{refused:,} refused by the contacts table itself: {refusal}.")
    return Notice(" ".join(said), "wait" if locked or refused else "good")
