"""How a page is drawn: with the parts common to all pages, and with the rights of the caller."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm_sync.api.rights import Rights
from crm_sync.api.routes import Scope
from crm_sync.api.tables import NotFoundError
from crm_sync.console.guard import VISITOR
from crm_sync.console.templating import Pages
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
                with rights_of(visitor.role):
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
        common = {"visitor": visitor, "here": "", "notice": None, "signs_out": self._signs_out, "now": datetime.now(UTC)}
        text = self._pages.render(template, {**common, **values})
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)

    def trouble(self, request: web.Request, status: int, title: str, detail: str) -> web.Response:
        """A page that says what is wrong."""
        return self.show(request, "trouble.html", status=status, title=title, detail=detail)


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
