"""Signing in and out: with the form, or with the link shown in a terminal."""

import time

from aiohttp import web

from crm_sync.console import cookies
from crm_sync.console.drawing import Drawing
from crm_sync.console.guard import COOKIE, Guard
from crm_sync.console.tokens import SESSION_S


class Door:
    """For people who sign in with a token."""

    def __init__(self, drawing: Drawing, guard: Guard) -> None:
        self._drawing = drawing
        self._guard = guard

    def routes(self) -> list[web.RouteDef]:
        """Below the base path."""
        base = self._guard.base
        return [
            web.get(f"{base}/login", self._login),
            web.post(f"{base}/login", self._sign_in),
            web.post(f"{base}/logout", self._sign_out),
            web.get(f"{base}/logout", self._still_in),
        ]

    async def _login(self, request: web.Request) -> web.Response:
        """With the form, or with the link shown in a terminal."""
        token = request.query.get("token")
        if token is not None:
            return self._enter(request, token, "/")
        return self._drawing.show(request, "login.html", next=_inner(request.query.get("next", "/")), wrong=False)

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        return self._enter(request, str(form.get("token", "")), _inner(str(form.get("next", "/"))))

    def _enter(self, request: web.Request, token: str, following: str) -> web.Response:
        visitor = self._guard.tokens.visitor(token.strip())
        if visitor is None:
            return self._drawing.show(request, "login.html", status=401, next=following, wrong=True)
        response = web.HTTPSeeOther(f"{self._guard.base}{following}")
        cookie = self._guard.tokens.cookie(visitor, time.time())
        cookies.give(request, response, COOKIE, cookie, base=self._guard.base, seconds=SESSION_S)
        raise response

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        if (cookie := request.cookies.get(COOKIE)) is not None:
            self._guard.tokens.end(cookie, time.time())
        response = web.HTTPSeeOther(self._drawing.url("/login"))
        cookies.take(response, COOKIE, base=self._guard.base)
        raise response

    async def _still_in(self, _request: web.Request) -> web.StreamResponse:
        """The address of the button, without it."""
        raise web.HTTPSeeOther(self._drawing.url("/"))


def _inner(path: str) -> str:
    """A path on this server, never another host."""
    ours = path.startswith("/") and path.isprintable() and not path.startswith(("//", "/\\"))  # browsers drop tabs from it
    return path if ours else "/"
