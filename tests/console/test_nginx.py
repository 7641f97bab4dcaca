"""Behind a real nginx, under a path, as in the manual."""

import asyncio
import re
import shutil
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest

from crm_sync.sandbox.postgres import free_port
from tests.console.running import OURS, TOKEN, visiting
from tests.loopback import reached
from tests.manual import page
from tests.steps import insert, read
from tests.tiers import slow

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if shutil.which("/usr/sbin/nginx") else None)
pytestmark = [slow, pytest.mark.skipif(NGINX is None, reason="there is no nginx here")]


@asynccontextmanager
async def nginx(folder, upstream: str):
    """Yields its address. Its configuration is the block in the manual."""
    port = free_port()
    [block] = re.findall(r"```text\n(location .*?)```", page("how-to/console.md"), re.DOTALL)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; user root;\n"
        "events {}\n"
        f"http {{ access_log {folder}/access.log; client_body_temp_path {folder}/b; "
        f"proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; "
        f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; server_name crm.example.com;\n"
        f"{block.replace('http://127.0.0.1:8080', upstream)} }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"))
    try:
        await reached(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_under_a_path_of_a_proxy_people_sign_in_look_and_flip(app, console_url, tmp_path):
    contact = await insert(app, "New")
    async with visiting(console_url, console_base_path="/crm-sync", console_hosts="crm.example.com") as visit:
        upstream = "http://" + urlsplit(visit.where).netloc
        async with nginx(tmp_path, upstream) as proxy, aiohttp.ClientSession() as http:
            host = {"Host": "crm.example.com"}
            sent = {**host, **OURS}
            async with http.post(f"{proxy}/crm-sync/login", data={"token": TOKEN}, headers=sent, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/crm-sync/")
                cookie = answer.headers["Set-Cookie"].partition(";")[0]
            signed = {**sent, "Cookie": cookie}
            async with http.get(f"{proxy}/crm-sync/contacts/{contact}", headers=signed) as answer:
                said = await answer.text()
                assert answer.status == 200
                assert f'action="/crm-sync/contacts/{contact}/brevo"' in said
            flip = {"status": "Queued"}
            flipping = http.post(f"{proxy}/crm-sync/contacts/{contact}/brevo", data=flip, headers=signed, allow_redirects=False)
            async with flipping as answer:
                assert (answer.status, answer.headers["Location"]) == (303, f"/crm-sync/contacts/{contact}")
                done = answer.headers["Set-Cookie"].partition(";")[0]
            signed["Cookie"] = f"{cookie}; {done}"
            async with http.get(f"{proxy}/crm-sync/contacts/{contact}", headers=signed) as answer:
                assert "brevo: the status is now Queued." in await answer.text()
            # Events come through it when they happen, not when its buffer is full.
            following = {**host, "Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
            async with asyncio.timeout(10), http.get(f"{proxy}/crm-sync/v1/events", headers=following) as answer:
                assert await answer.content.readline() == b"retry: 5000\n"
            async with http.get(f"{proxy}/crm-sync/", headers={"Host": "evil.example"}) as answer:
                assert answer.status == 421
    assert (await read(app, contact))["sync_status"] == "Queued"


async def test_the_access_log_of_a_proxy_has_no_address_that_somebody_searched_for(app, console_url, tmp_path):
    contact = await insert(app, "New", "ada@example.com")
    async with visiting(console_url, console_base_path="/crm-sync", console_hosts="crm.example.com") as visit:
        upstream = "http://" + urlsplit(visit.where).netloc
        async with nginx(tmp_path, upstream) as proxy, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            sent = {"Host": "crm.example.com", **OURS}
            await http.post(f"{proxy}/crm-sync/login", data={"token": TOKEN}, headers=sent, allow_redirects=False)
            for searched, found in (("ada@example.com", f"/contacts/{contact}"), ("nobody@example.com", "/find?search=")):
                async with http.post(f"{proxy}/crm-sync/find", data={"q": searched}, headers=sent) as answer:
                    assert (answer.status, found in str(answer.url)) == (200, True)
    logged = (tmp_path / "access.log").read_text()
    assert "POST /crm-sync/find " in logged
    assert "GET /crm-sync/find?search=" in logged
    assert "example.com" not in logged.replace("crm.example.com", "")
    assert "nobody" not in logged
