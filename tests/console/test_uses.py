"""The use of a token is an event, once a day."""

import hashlib
import logging
from datetime import date, timedelta

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from crm_sync.console.guard import VISITOR
from crm_sync.console.tokens import ALL, Tokens, Visitor, of_setting
from crm_sync.console.uses import Uses
from crm_sync.postgres.visiting import Visiting
from tests.console.running import TOKEN, visiting
from tests.console.test_lacking_rights import only_reads

__all__ = ["only_reads"]


async def used(app):
    rows = await app.fetch("SELECT actor, via FROM crm_sync.events WHERE event = 'token_used' ORDER BY actor, at")
    return [tuple(row) for row in rows]


async def test_each_token_is_noted_once(app, console_url, tmp_path):
    file = tmp_path / "tokens.toml"
    file.write_text(f'[reader]\nsha256 = "{hashlib.sha256(b"reader").hexdigest()}"\nscopes = ["read"]\n')
    async with visiting(console_url, console_tokens_file=file) as visit:
        for _ in range(3):
            await visit.call("GET", "/crms", token="reader")
            await visit.call("GET", "/crms", token="wrong")
        await visit.sign_in(TOKEN)
        for _ in range(3):
            await visit.get("")
    assert await used(app) == [("console", "console"), ("reader", "api")]


async def test_the_next_day_it_is_noted_again(app, url):
    days = [date(2026, 1, 1)]
    tokens = Tokens([of_setting(TOKEN)])
    visitor = tokens.visitor(TOKEN)

    @web.middleware
    async def let_in(request, handler):
        request[VISITOR] = visitor if request.path == "/token" else Visitor("console", ALL)
        return await handler(request)

    async def answer(_request):
        return web.Response()

    async with Visiting(url, size=1) as database:
        uses = Uses(tokens, database, "", day=lambda: days[-1])
        behind = web.Application(middlewares=[let_in, uses.middleware])
        behind.router.add_get("/{name}", answer)
        async with TestClient(TestServer(behind)) as client:
            for _ in range(2):
                await client.get("/token")
                await client.get("/proxy")
            days.append(days[-1] + timedelta(days=1))
            await client.get("/proxy")
            assert len(await used(app)) == 1, "whom a proxy has let in has no token, whatever the name"
            await client.get("/token")
    assert len(await used(app)) == 2


async def test_where_it_cannot_be_written_pages_are_shown_and_the_log_says_so_once(app, only_reads, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert (await only_reads.get(""))[0] == 200
    assert await used(app) == []
    assert len([one for one in caplog.records if "cannot be written down" in one.getMessage()]) == 1
