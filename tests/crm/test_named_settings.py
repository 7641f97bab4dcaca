"""If something else answers instead of a CRM, or the CRM refuses its key, the message names the settings of that CRM."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from crm_sync.core.outcome import Contact
from crm_sync.crm.limiter import UNLIMITED
from crm_sync.crm.registry import known
from crm_sync.errors import LaneError, StatusRefusedError
from crm_sync.sandbox.process import CRMS, settings

ADDRESS = {
    "hubspot": "check HUBSPOT_BASE_URL and HUBSPOT_CONTACTS_PATH",
    "brevo": "check BREVO_BASE_URL",
    "mautic": "check MAUTIC_BASE_URL, the address of Mautic without /api",
    "n8n": "check N8N_WEBHOOK_URL",
}
PAGE = "<html>Nobody comes in here</html>"
ANYTHING = {
    "a redirect": (301, "", {"Location": "https://www.example.com/elsewhere"}),
    "a gateway": (403, '{"message": "Forbidden"}', {"Content-Type": "application/json"}),
    **{f"a page with {status}": (status, PAGE, {}) for status in (400, 401, 402, 403, 404, 405, 406, 407, 413, 418, 421, 451)},
}
# n8n says 404 itself while it starts.
OTHERWISE = {("n8n", "a page with 404"): "n8n is starting, or N8N_WEBHOOK_URL is not a webhook of n8n"}
# Each in its own words.
REFUSED_KEY = {
    "hubspot": (401, '{"status": "error", "category": "INVALID_AUTHENTICATION", "message": "no"}', "check HUBSPOT_ACCESS_TOKEN"),
    "brevo": (401, '{"code": "unauthorized", "message": "Key not found"}', "check BREVO_API_KEY"),
    "mautic": (
        *(401, '{"errors": [{"code": 401, "type": "access_denied", "message": "no"}]}'),
        "check MAUTIC_USERNAME and MAUTIC_PASSWORD, or MAUTIC_CLIENT_ID and MAUTIC_CLIENT_SECRET",
    ),
    "n8n": (403, "Authorization data is wrong!", "check N8N_HEADER_NAME and N8N_HEADER_VALUE"),
}
ADA = Contact(1, 1, 1, None, "ada@example.com", datetime.now(UTC), {})


@asynccontextmanager
async def client_of(crm, monkeypatch, answer):
    """With a server that answers everything like this."""
    status, text, headers = answer

    async def say(_request):
        return web.Response(status=status, text=text, headers={"Content-Type": "text/html", **headers})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    for name, value in settings(crm, f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    try:
        async with known()[crm].read_account().open(UNLIMITED) as client:
            yield client
    finally:
        await runner.cleanup()


async def refusal(client):
    try:
        [entry] = await client.deliver([ADA])
    except LaneError as error:
        return error
    assert isinstance(entry, LaneError), entry
    return entry


@pytest.mark.parametrize("what", ANYTHING)
@pytest.mark.parametrize("crm", CRMS)
async def test_what_is_not_the_crm_is_told_with_the_setting_of_its_address(crm, what, monkeypatch):
    async with client_of(crm, monkeypatch, ANYTHING[what]) as client:
        error = await refusal(client)
    assert OTHERWISE.get((crm, what), ADDRESS[crm]) in error.reason
    assert isinstance(error, StatusRefusedError) == ("407" not in what)


@pytest.mark.parametrize("crm", CRMS)
async def test_a_redirect_is_told_so_by_the_check_too_and_where_to(crm, monkeypatch):
    async with client_of(crm, monkeypatch, ANYTHING["a redirect"]) as client:
        with pytest.raises(LaneError) as caught:
            await client.check()
    assert f"(301 to www.example.com/elsewhere), which is not followed: {ADDRESS[crm]}" in str(caught.value)


@pytest.mark.parametrize("crm", CRMS)
async def test_a_refused_key_is_told_with_its_setting(crm, monkeypatch):
    *answer, setting = REFUSED_KEY[crm]
    async with client_of(crm, monkeypatch, (*answer, {})) as client:
        assert setting in (await refusal(client)).reason
