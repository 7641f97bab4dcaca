"""How a page is drawn: with the parts common to all pages, and with the rights of the caller."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from aiohttp import web
from yarl import URL

from crm_sync.api.rights import Rights
from crm_sync.api.routes import Scope
from crm_sync.api.tables import NotFoundError
from crm_sync.console import cookies
from crm_sync.console.flash import COOKIE, LASTS_S, Flash, Flashes
from crm_sync.console.guard import SAFE, VISITOR
from crm_sync.console.templating import Pages
from crm_sync.core.durations import read_elsewhere
from crm_sync.errors import ConfigurationError, CrmSyncError, DatabaseTroubleError, DeclinedError, ForbiddenError
from crm_sync.postgres.visiting import rights_of

if TYPE_CHECKING:
    from crm_sync.console.tokens import Visitor

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# By type of error, the most specific first: status, title, and the text besides the error.
_TROUBLE: dict[type[CrmSyncError], tuple[int, str, str]] = {
    NotFoundError: (404, "Not found", ""),
    DeclinedError: (409, "Not done", ""),
    ConfigurationError: (500, "Something has to be fixed first", ""),
    DatabaseTroubleError: (503, "The database does not answer", " Try again in a moment."),
    CrmSyncError: (500, "Something went wrong", ""),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A line at the top of a page. tone: good, bad, wait or still."""

    text: str
    tone: str = "still"

    def with_note(self, note: str | None) -> "Notice":
        """Adds something that the user should know."""
        return self if note is None else Notice(f"{self.text} {note}", "wait")


class Drawing:
    """signs_out: whether people sign in with a token."""

    def __init__(self, pages: Pages, rights: Rights, *, signs_out: bool) -> None:
        self._pages = pages
        self._rights = rights
        self._signs_out = signs_out
        self._flashes = Flashes()
        self.url, self.page_of, self.shown, self.reference = pages.url, pages.page_of, pages.shown, pages.reference

    def guarded(self, handler: Handler, scope: Scope = Scope.READ) -> Handler:
        """With the rights of the caller. An error becomes a page that says what is wrong and what to do."""

        async def page(request: web.Request) -> web.StreamResponse:
            visitor = request[VISITOR]
            if wrong := await _unstorable(request):
                return self.trouble(
                    request, 400, "Not a valid request", f"The {wrong} has a NUL in it, which no text in the database has."
                )
            if not visitor.may(scope):
                return self.trouble(request, 403, "Not allowed", f"This token lacks the scope {scope.value}.")
            try:
                with rights_of(visitor.role), read_elsewhere():
                    try:
                        return await handler(request)
                    except ForbiddenError as error:
                        said = await self._rights.explained(error, writes=request.method == "POST")
                        return self.trouble(request, 403, "Not allowed", f"{capital(said)}.")
            except CrmSyncError as error:
                status, title, more = next(told for kind, told in _TROUBLE.items() if isinstance(error, kind))
                return self.trouble(request, status, title, f"{sentence(error)}{more}")

        return page

    def show(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """A page. values: of its template."""
        visitor: Visitor | None = request.get(VISITOR)
        flash = self.flash(request)
        notice = Notice(flash.text, flash.tone) if flash is not None and flash.text else None
        common = {"visitor": visitor, "here": "", "notice": notice, "signs_out": self._signs_out, "now": datetime.now(UTC)}
        text = self._pages.render(template, {**common, **values})
        response = web.Response(text=text, content_type="text/html", charset="utf-8", status=status)
        if flash is not None and status < 400:  # a page in trouble leaves it for the one that is loaded again
            cookies.take(response, COOKIE, base=self._pages.base)
        return response

    def lead(self, request: web.Request, where: str, notice: "Notice | None" = None, *, reveals: bool = False) -> NoReturn:
        """To a page that is only looked at, after something was done. where: its address, by `url` or `page_of`. It says the
        notice once; so does what is shown in full.
        """
        response = web.HTTPSeeOther(where)
        if notice is not None or reveals:
            text, tone = ("", "still") if notice is None else (notice.text, notice.tone)
            flash = Flash(text, tone, reveals)
            sealed = self._flashes.seal(flash, visitor=request[VISITOR].name, path=URL(where, encoded=True).path)
            cookies.give(request, response, COOKIE, sealed, base=self._pages.base, seconds=LASTS_S)
        raise response

    def flash(self, request: web.Request) -> Flash | None:
        """What a form has just left for this page, and this visitor."""
        visitor, cookie = request.get(VISITOR), request.cookies.get(COOKIE)
        if visitor is None or cookie is None or request.method not in SAFE:
            return None
        return self._flashes.open(cookie, visitor=visitor.name, path=request.path)

    @contextmanager
    def revealing(self, request: web.Request) -> Iterator[bool]:
        """Whether the page shows in full what was revealed for it. It does so once, unless it cannot be shown."""
        flash, cookie = self.flash(request), request.cookies.get(COOKIE, "")
        if flash is None or not flash.reveals or not self._flashes.spend(cookie):
            yield False
            return
        try:
            yield True
        except BaseException:
            self._flashes.give_back(cookie)
            raise

    def trouble(self, request: web.Request, status: int, title: str, detail: str) -> web.Response:
        """A page that says what is wrong. The address of a form leads back to the page that has it."""
        is_form = request.method not in SAFE and request.match_info.http_exception is None
        back = request.raw_path if is_form else None
        return self.show(request, "trouble.html", status=status, title=title, detail=detail, back=back)


async def _unstorable(request: web.Request) -> str | None:
    """The name of a parameter that the database cannot store, and so cannot search for."""
    form = await request.post() if request.method == "POST" else {}
    given = (*request.match_info.items(), *request.query.items(), *form.items())
    return next((name for name, value in given if isinstance(value, str) and "\0" in value), None)


def sentence(error: Exception) -> str:
    """The message of an error as a sentence."""
    text = str(error)
    return f"{capital(text)}{'' if text.endswith('.') else '.'}"


def capital(text: str) -> str:
    """With a capital letter."""
    return f"{text[:1].upper()}{text[1:]}"
