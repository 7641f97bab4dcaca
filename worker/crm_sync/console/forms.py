"""What the forms on the pages do."""

from collections.abc import Mapping

from aiohttp import web

from crm_sync.api.requests import RetryRequest, Selection
from crm_sync.api.routes import Scope
from crm_sync.api.service import Service
from crm_sync.console.asked import CONSEQUENCES, LABELS, filter_of, wish_of
from crm_sync.console.commands import of_retry, of_selection
from crm_sync.console.drawing import Drawing, Notice
from crm_sync.console.guard import VISITOR
from crm_sync.console.pages import KEY, LookingPages
from crm_sync.errors import DeclinedError
from crm_sync.telling.deeds import CONSOLE, Doer


class Forms:
    """pages: shown again after an action."""

    def __init__(self, service: Service, drawing: Drawing, pages: LookingPages) -> None:
        self._tables = service.tables
        self._lanes = service.lanes
        self._fields = service.fields
        self._changing = service.changing
        self._drawing = drawing
        self._shown = pages

    def routes(self, base: str) -> list[web.RouteDef]:
        """base: the path before each."""
        done = {
            f"/contacts/{KEY}/{{crm}}": (self._change, Scope.FLIP),
            "/fields/{crm}": (self._ask, Scope.FLIP),
            f"/reveal/{KEY}": (self._reveal, Scope.FLIP),
            "/selections": (self._select, Scope.FLIP),
            "/failures": (self._retry, Scope.OPERATE),
            "/crms/{crm}": (self._pause, Scope.OPERATE),
        }
        return [web.post(f"{base}{path}", self._drawing.guarded(handler, scope)) for path, (handler, scope) in done.items()]

    async def _reveal(self, request: web.Request) -> web.Response:
        contact = await self._changing.reveal(request.match_info["key"], _by(request))
        return await self._shown.show_contact(request, contact.key, revealed=contact)

    async def _ask(self, request: web.Request) -> web.Response:
        """Shown next to the button: on the page of a contact or a CRM."""
        said = await self._fields.ask(request.match_info["crm"], _by(request))
        key = str((await request.post()).get("key", ""))
        if key:
            return await self._shown.show_contact(request, key, said=said)
        return await self._shown.show_crm(request, said.crm, said=said)

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
        return await self._shown.show_contact(request, key, notice=notice.with_note(done.note))

    async def _select(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        wanted, wish, crm = filter_of(form), wish_of(form.get("status")), str(form.get("crm", ""))
        confirmed, after = form.get("confirm") == "yes", str(form.get("after") or "") or None
        selection = Selection(crm=crm, status=wish, where=wanted, dry_run=not confirmed, after=after)
        result = await self._changing.select(selection, _by(request))
        asked = {"crm": crm, "state": wanted.state, "code": wanted.code}
        if not result.dry_run:
            notice = Notice(_became(result.changed, result.locked, result.refused, result.refusal), "good")
            back = self._drawing.url("/contacts", **asked)
            more = {**asked, "status": wish.value, "after": result.next} if result.next else None
            return self._done(request, notice.with_note(result.note), "/selections", back, more)
        tables = await self._tables.whole()
        return self._drawing.show(
            request, "selection.html", preview=result, crm=crm, state=wanted.state, code=wanted.code, label=LABELS[wish],
            consequence=CONSEQUENCES[wish], same_as=of_selection(tables[crm].variables, wish, wanted),
        )  # fmt: skip

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        crm, code, confirmed = str(form.get("crm", "")), str(form.get("code", "")), form.get("confirm") == "yes"
        if not crm.strip() or not code.strip():
            raise DeclinedError("the form names no CRM, or no code")
        if confirmed:
            result = await self._changing.retry(RetryRequest(crm=crm, codes=[code], dry_run=False), _by(request))
            notice = Notice(_became(result.flipped, result.locked, result.refused, result.refusal), "good")
            more = {"crm": crm, "code": code} if result.more else None
            return self._done(request, notice.with_note(result.note), "/failures", self._drawing.url("/failures"), more)
        variables = (await self._tables.table(crm)).variables
        failed = next((one for one in await self._lanes.failures() if (one.crm, one.code) == (crm, code)), None)
        same_as = of_retry(variables, crm, code)
        return self._drawing.show(request, "retry.html", failed=failed, crm=crm, code=code, same_as=same_as)

    def _done(
        self, request: web.Request, notice: Notice, form: str, back: str, more: Mapping[str, str | None] | None
    ) -> web.StreamResponse:
        """more: what the same form says to continue."""
        return self._drawing.show(request, "done.html", notice=notice, form=form, back=back, more=more)

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        crm = request.match_info["crm"]
        match form.get("act"):
            case "pause":
                paused = await self._changing.pause(crm, str(form.get("reason", "")), _by(request))
                if paused.note is not None:
                    notice, back = Notice(paused.note, "wait"), self._drawing.url(f"/crms/{crm}")
                    return self._drawing.show(request, "done.html", notice=notice, back=back, more=None)
            case "resume":
                await self._changing.resume(crm, _by(request))
            case _:
                raise DeclinedError("the form says neither pause nor resume")
        raise web.HTTPSeeOther(self._drawing.url(f"/crms/{crm}"))


def _by(request: web.Request) -> Doer:
    return Doer(request[VISITOR].name, CONSOLE)


def _became(changed: int, locked: int, refused: int, refusal: str | None) -> str:
    said = [f"{changed:,} contact{'' if changed == 1 else 's'} changed."]
    if locked:
        said.append(f"{locked:,} locked by another transaction throughout, and left as they are.")
    if refused:
        said.append(f"{refused:,} refused by the contacts table itself: {refusal}.")
    return " ".join(said)
