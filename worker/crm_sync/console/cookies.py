"""The cookies of the console: no script reads one, and a browser sends them from our own pages only."""

from aiohttp import web


def give(request: web.Request, response: web.StreamResponse, name: str, value: str, *, base: str, seconds: int) -> None:
    """base: the path before each page. seconds: that the browser keeps it."""
    response.set_cookie(
        name,
        value,
        path=f"{base}/",
        max_age=seconds,
        httponly=True,
        samesite="Strict",
        secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
    )


def take(response: web.StreamResponse, name: str, *, base: str) -> None:
    """Away from the browser."""
    response.del_cookie(name, path=f"{base}/")
