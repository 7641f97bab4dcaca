"""The checks that each request must pass before anything is read, and the headers of each answer.

A page on the internet can make a browser on this machine send requests here. So a request must name a host that is ours (against
DNS rebinding) and carry a cookie that browsers send only from our own pages. A request that changes something must also say that
it comes from one of these.
"""

import ipaddress
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from urllib.parse import quote, urlsplit

from aiohttp import web

from crm_sync.api.handling import problem
from crm_sync.api.routes import PREFIX, Scope
from crm_sync.console.tokens import ALL, Tokens, Visitor
from crm_sync.core.host_names import host_name

COOKIE = "crm_sync_console"
VISITOR = web.RequestKey("visitor", Visitor)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LONGEST_NAME = 100  # characters of a proxy's user name
SAFE = ("GET", "HEAD")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Nothing from other sites, nothing inline; forms lead only here, and no other page may frame ours.
CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'", "form-action 'self'",
    "base-uri 'none'", "frame-ancestors 'none'",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """hosts: names under which we are reached; None: any, for a socket that only a proxy opens.

    user_header: the header of a proxy that authenticates users. proxies: those whose header is trusted, besides a Unix socket's.
    is_open: a Unix socket without tokens, where file permissions decide who may connect.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        base: str,
        hosts: Collection[str],
        user_header: str | None = None,
        proxies: Sequence[str] = (),
        is_open: bool = False,
    ) -> None:
        self.tokens = tokens
        self.base = base
        self._hosts = hosts
        self._user_header = user_header
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._is_open = is_open

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Raises HTTPException if the request is refused."""
        if not self._is_our_host(request):
            raise web.HTTPMisdirectedRequest(
                text="This host name is not one of the console's. Add it to CONSOLE_HOSTS if it is meant.\n"
            )
        path = request.path.removeprefix(self.base)
        if path.startswith(("/static/", "/livez")):
            return await handler(request)
        if not _is_for_a_person(request):
            raise web.HTTPForbidden(text="A page elsewhere may link to the console, and may not load anything of it.\n")
        is_api = path == PREFIX or path.startswith(f"{PREFIX}/")
        visitor = self._bearer(request) if is_api else self._of_browser(request)
        if request.method not in SAFE and not self._is_our_page(request, is_api=is_api):
            raise web.HTTPForbidden(text="This request does not come from a page of the console.\n")
        if path == "/login":
            return await handler(request)
        if visitor is None and is_api:
            answer = problem(401, "No valid token", "expected Authorization: Bearer TOKEN")
            headers = {"WWW-Authenticate": "Bearer"}
            return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type, headers=headers)
        if visitor is None:
            raise self._refusal(request)
        if not visitor.may(Scope.READ):
            raise web.HTTPForbidden(text="This token does not allow reading: it lacks the scope read.\n")
        request[VISITOR] = visitor
        return await handler(request)

    def _is_our_host(self, request: web.Request) -> bool:
        if not self._hosts:
            return True
        name = host_name(request.host) or ""
        return (f"[{name}]" if ":" in name else name) in self._hosts

    def _bearer(self, request: web.Request) -> Visitor | None:
        """Never by cookie: otherwise a page elsewhere could make a browser use the API."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.tokens.visitor(token.strip())
        return self._of_proxy(request) or self._of_socket()

    def _of_browser(self, request: web.Request) -> Visitor | None:
        cookie = request.cookies.get(COOKIE)
        signed_in = self.tokens.of_cookie(cookie, time.time()) if cookie else None
        return self._of_proxy(request) or signed_in or self._of_socket()

    def _of_socket(self) -> Visitor | None:
        return Visitor("socket", ALL) if self._is_open else None

    def _of_proxy(self, request: web.Request) -> Visitor | None:
        if self._user_header is None or not self._is_proxy(request):
            return None
        name = request.headers.get(self._user_header, "").strip()
        return Visitor(name[:LONGEST_NAME], ALL) if name else None

    def _is_proxy(self, request: web.Request) -> bool:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        if not isinstance(peer, tuple):
            return True  # a Unix socket has no address
        address = ipaddress.ip_address(peer[0])
        return any(address in network for network in self._proxies)

    @staticmethod
    def _is_our_page(request: web.Request, *, is_api: bool) -> bool:
        """Clients that are not browsers send neither header, and may use the API."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site == "same-origin"
        # Browsers older than this header send Origin with each form.
        origin = request.headers.get("Origin")
        return is_api if origin is None else _host_of(origin) == request.host

    def _refusal(self, request: web.Request) -> web.HTTPException:
        if request.method not in SAFE or "HX-Request" in request.headers:
            said = "The session has ended, and nothing was changed. Sign in again.\n"
            return web.HTTPUnauthorized(text=said, headers={"HX-Refresh": "true"})  # a page that follows something leads there
        return web.HTTPSeeOther(f"{self.base}/login?next={quote(request.path_qs.removeprefix(self.base), safe='/')}")


def _host_of(origin: str) -> str:
    """Empty if it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_for_a_person(request: web.Request) -> bool:
    """Not a picture, a frame or a script of a page elsewhere. Behind a proxy that signs people in, it would be answered, and each
    could have the whole contacts table read.
    """
    headers = request.headers
    if headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
        return True
    return (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) == ("navigate", "document")
