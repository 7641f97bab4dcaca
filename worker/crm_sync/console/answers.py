"""Answers to requests that reached no page and no route: a page of ours, or a problem of the API. Also the headers of every
answer.
"""

from aiohttp import web
from aiohttp.log import server_logger

from crm_sync.api.handling import Answer, misdirected, problem, too_large, went_wrong
from crm_sync.api.routes import PREFIX
from crm_sync.console.drawing import Drawing
from crm_sync.console.guard import HEADERS, Handler

# By status: the title of the page, and its text if the error has none.
_TROUBLE = {
    400: ("Not a valid request", "It cannot be read."),
    401: ("Not signed in", "The session has ended. Sign in again."),
    403: ("Not allowed", "This is not allowed."),
    404: ("Not found", "There is no such page."),
    405: ("Not found", "This page is only looked at."),
    413: ("Too much", "This is more than a form may send."),
    500: ("Something went wrong", "The log of the console says what."),
}
_PROBLEMS = {
    400: "The body is wrong",
    403: "Not allowed",
    405: "This method is not allowed here",
    408: "The body did not come in time",
}


class Answers:
    """base: the path before each page."""

    def __init__(self, drawing: Drawing, base: str) -> None:
        self._drawing = drawing
        self._base = base

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Adds the headers to every answer, and replaces the framework's own answers."""
        try:
            response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                _dress(error)
                raise
            response = self._told(request, error)
        except Exception:  # noqa: BLE001 (a bug of ours must not reveal anything, and needs the headers too)
            server_logger.exception("a page of the console failed")
            response = self._told(request, web.HTTPInternalServerError(text=""))
        if not response.prepared:
            _dress(response)
        return response

    def _told(self, request: web.Request, error: web.HTTPException) -> web.Response:
        kept = {name: error.headers[name] for name in ("Allow", "HX-Refresh") if name in error.headers}
        said = (error.text or "").strip()
        if said.startswith(f"{error.status}: ") or error.status == 413:  # the framework's own text
            said = ""
        if is_api(request.path.removeprefix(self._base)):
            answer = _problem(error.status, said)
            return web.Response(
                status=answer.status, body=answer.body, content_type=answer.content_type, headers={**answer.headers, **kept}
            )
        if error.status not in _TROUBLE or "HX-Request" in request.headers:
            return web.Response(status=error.status, text=f"{said or error.reason}\n", headers=kept)
        title, otherwise = _TROUBLE[error.status]
        response = self._drawing.trouble(request, error.status, title, said or otherwise)
        response.headers.update(kept)
        return response


def is_api(path: str) -> bool:
    """path: below the base."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _problem(status: int, said: str) -> Answer:
    match status:
        case 400 | 403 | 405 | 408:
            return problem(status, _PROBLEMS[status], said or None)
        case 404:
            return problem(404, "Not found", f"see {PREFIX}/openapi.json for what there is")
        case 413:
            return too_large()
        case 421:
            return misdirected(said)
    return went_wrong()


def _dress(response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
