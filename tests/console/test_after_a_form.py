"""After a form the address is that of a page: loaded again it sends nothing, and what was done is said once, to one person."""

import asyncio
import base64
import html
import json
import re
from unittest.mock import AsyncMock

import pytest

from crm_sync.api.contacts import Contacts
from crm_sync.console.flash import COOKIE, LASTS_S, LONGEST_TEXT, Flash, Flashes
from crm_sync.errors import DatabaseTroubleError
from tests.console.running import OURS, visiting
from tests.console.test_pages import text_of
from tests.steps import insert
from tests.table.test_failed_contacts import fails

FORMS = {
    "contacts/{key}/brevo": ({"status": "Skipped"}, "contacts/{key}"),
    "reveal/{key}": ({}, "contacts/{key}"),
    "selections": ({"crm": "brevo", "state": "New", "status": "Skipped", "confirm": "yes"}, "contacts?crm=brevo&state=New"),
    "failures": ({"crm": "brevo", "code": "REJECTED", "confirm": "yes"}, "failures"),
    "crms/brevo": ({"act": "pause", "reason": "a new key"}, "crms/brevo"),
}
# Of a form that is only looked at, because somebody has loaded it again, or has put it into the address bar.
LOOKED_AT = {
    "contacts/{key}/brevo": "contacts/{key}",
    "reveal/{key}": "contacts/{key}",
    "selections": "contacts",
    "retry": "failures",
    "fields/brevo": "crms/brevo",
    "logout": "",
}


async def sent(visit, path, form):
    """Where a form leads."""
    async with visit.http.post(visit.where + path, data=form, headers=OURS, allow_redirects=False) as response:
        return response.status, response.headers.get("Location")


@pytest.mark.parametrize("base", ["", "/crm-sync"])
@pytest.mark.parametrize("path", FORMS)
async def test_a_form_leads_to_a_page_and_loading_that_again_changes_nothing(app, url, path, base):
    contact = await insert(app, "New")
    await fails(app, email="b@example.com", error="REJECTED: no")
    form, where = FORMS[path]
    async with visiting(url, console_base_path=base) as visit:
        await visit.sign_in()
        assert await sent(visit, path.format(key=contact), form) == (303, f"{base}/{where.format(key=contact)}")
        events = "SELECT count(*) FROM crm_sync.events"
        before = await app.fetchval(events)
        for _ in range(2):
            assert (await visit.get(where.format(key=contact)))[0] == 200
        assert await app.fetchval(events) == before


@pytest.mark.parametrize("path", LOOKED_AT)
async def test_the_address_of_a_form_leads_back_to_its_page(app, signed_in, path):
    contact = await insert(app, "New")
    where = signed_in.where + path.format(key=contact)
    async with signed_in.http.get(where, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/" + LOOKED_AT[path].format(key=contact))


@pytest.mark.parametrize(
    ("path", "form"), [("selections", {"crm": "brevo", "status": "Queued"}), ("failures", {"crm": "brevo", "code": "X"})]
)
async def test_what_changes_many_leads_to_its_preview_until_it_is_confirmed(app, signed_in, path, form):
    status, where = await sent(signed_in, path, form)
    assert (status, where.partition("?")[0]) == (303, {"selections": "/selections", "failures": "/retry"}[path])
    assert (await signed_in.get(where.removeprefix("/")))[0] == 200


async def test_what_was_done_is_said_once(app, signed_in):
    contact = await insert(app, "New")
    _, page = await signed_in.done(f"contacts/{contact}/brevo", {"status": "Queued"})
    assert "brevo: the status is now Queued." in text_of(page)
    assert "the status is now" not in text_of((await signed_in.get(f"contacts/{contact}"))[1])


async def test_it_waits_for_its_page_and_no_other_says_it(app, signed_in):
    contact, other = await insert(app, "New"), await insert(app, "New", "b@example.com")
    await signed_in.post(f"contacts/{contact}/brevo", {"status": "Queued"})
    for path in (f"contacts/{other}", "", "parts/overview"):
        assert "the status is now" not in (await signed_in.get(path))[1]
    assert "the status is now" in (await signed_in.get(f"contacts/{contact}"))[1]


async def test_an_address_is_shown_once_and_shown_again_only_by_another_that_is_written_down(app, signed_in):
    contact = await insert(app, "New", "lovelace@example.com")
    assert "lovelace@example.com" in (await signed_in.done(f"reveal/{contact}"))[1]
    assert "lovelace" not in (await signed_in.get(f"contacts/{contact}"))[1]


async def sealed(visit, path, form=None):
    """What a form has left for its page, as a browser sends it."""
    async with visit.http.post(visit.where + path, data=form or {}, headers=OURS, allow_redirects=False) as response:
        return {COOKIE: response.cookies[COOKIE].value}


async def test_whoever_sends_the_cookie_of_an_address_again_sees_no_address(app, signed_in):
    contact = await insert(app, "New", "lovelace@example.com")
    cookie = await sealed(signed_in, f"reveal/{contact}")
    shown = [(await signed_in.get(f"contacts/{contact}", cookies=cookie))[1].count("lovelace@example.com") for _ in range(3)]
    assert shown[0] > 0
    assert shown[1:] == [0, 0]


async def test_two_that_send_it_at_once_see_one(app, signed_in):
    contact = await insert(app, "New", "lovelace@example.com")
    cookie = await sealed(signed_in, f"reveal/{contact}")
    pages = await asyncio.gather(*(signed_in.get(f"contacts/{contact}", cookies=cookie) for _ in range(4)))
    assert sum("lovelace@example.com" in page for _, page in pages) == 1


@pytest.mark.parametrize("path", ["reveal/{key}", "contacts/{key}/brevo"])
async def test_what_a_page_in_trouble_could_not_show_the_next_one_shows(app, signed_in, monkeypatch, path):
    contact = await insert(app, "New", "lovelace@example.com")
    form, where = FORMS[path]
    away = DatabaseTroubleError("the server closed the connection")
    with monkeypatch.context() as trouble:
        trouble.setattr(Contacts, "one", AsyncMock(side_effect=away))
        status, page = await signed_in.done(path.format(key=contact), form)
        assert (status, "lovelace" in page) == (503, False)
    said = "lovelace@example.com" if path.startswith("reveal") else "brevo: the status is now Skipped."
    shown = [said in (await signed_in.get(where.format(key=contact)))[1] for _ in range(2)]
    assert shown == [True, False]


async def test_a_page_in_trouble_says_that_what_was_asked_for_is_done(app, signed_in, monkeypatch):
    contact = await insert(app, "New")
    monkeypatch.setattr(Contacts, "one", AsyncMock(side_effect=DatabaseTroubleError("the server closed the connection")))
    status, page = await signed_in.done(f"contacts/{contact}/brevo", {"status": "Skipped"})
    assert (status, "brevo: the status is now Skipped." in text_of(page)) == (503, True)


def test_what_was_spent_is_remembered_no_longer_than_a_cookie_lasts():
    moment = [1_000.0]
    flashes = Flashes(clock=lambda: moment[0])
    for _ in range(500):
        cookie = flashes.seal(Flash(reveals=True), visitor="ada", path="/contacts/1")
        assert flashes.spend(cookie)
        assert not flashes.spend(cookie)
        moment[0] += 1
    assert len(flashes) == LASTS_S
    assert flashes.open(cookie, visitor="ada", path="/contacts/1") is not None, "the last one has not expired"


def test_no_two_reveals_are_the_same_even_in_the_same_moment():
    flashes = Flashes(clock=lambda: 1_000.0)
    first, second = (flashes.seal(Flash(reveals=True), visitor="ada", path="/contacts/1") for _ in range(2))
    assert (flashes.spend(first), flashes.spend(second)) == (True, True)


async def test_a_change_that_takes_several_requests_goes_on_where_it_was(app, signed_in):
    for number in range(3):
        await insert(app, "New", f"{number}@example.com")
    asked = {
        "crm": "brevo",
        "state": "New",
        "status": "Skipped",
        "after": str(await app.fetchval("SELECT id FROM contacts ORDER BY id LIMIT 1")),
    }
    async with signed_in.http.get(f"{signed_in.where}selections", params=asked) as response:
        page = await response.text()
    assert "not done yet" in text_of(page)
    assert f'name="after" value="{asked["after"]}"' in page
    assert "2 contacts changed." in text_of((await signed_in.done("selections", {**asked, "confirm": "yes"}))[1])


@pytest.mark.parametrize(
    ("code", "sync", "whom"),
    [
        ("REJECTED", "Error", "in Error with code REJECTED"),
        ("FIELD_NOT_SENT", "Complete", "that was delivered with code FIELD_NOT_SENT"),
    ],
)
async def test_a_retry_says_whom_it_sends_and_the_sql_that_it_shows_sends_the_same(app, signed_in, code, sync, whom):
    contact = await fails(app, error=f"{code}: SMS: no", sync=sync)
    await fails(app, email="b@example.com", error="OTHER: no", sync=sync)
    status, page = await signed_in.get(f"retry?crm=brevo&code={code}")
    assert (status, f"every contact {whom}" in text_of(page)) == (200, True)
    await app.execute(html.unescape(re.search(r"<pre[^>]*><code>(UPDATE .*?)</code>", page, re.DOTALL)[1]))
    assert await app.fetch("SELECT id FROM contacts WHERE brevo_sync_status = 'Queued'") == [(contact,)]


async def test_what_a_form_could_not_do_leads_back_to_its_page(signed_in):
    status, page = await signed_in.post("crms/brevo", {"act": "pause", "reason": " "})
    assert (status, '<a class="button" href="/crms/brevo">Back</a>' in page) == (409, True)


def test_a_cookie_is_read_by_its_person_on_its_page_for_a_minute():
    moment = [1_000.0]
    flashes = Flashes(clock=lambda: moment[0])
    flash = Flash("brevo: 5 contacts changed, für Ada", "good")
    cookie = flashes.seal(flash, visitor="ada", path="/contacts")
    assert flashes.open(cookie, visitor="ada", path="/contacts") == flash
    assert flashes.open(cookie, visitor="grace", path="/contacts") is None
    assert flashes.open(cookie, visitor="ada", path="/failures") is None
    moment[0] += 60
    assert flashes.open(cookie, visitor="ada", path="/contacts") is None


def forged() -> str:
    return base64.urlsafe_b64encode(
        json.dumps({"text": "Send your token to x", "tone": "good", "reveals": True}).encode()
    ).decode()


@pytest.mark.parametrize("cookie", ["", ".", "x", "x.y", "é.é", forged(), f"{forged()}.{'0' * 64}"])
async def test_what_somebody_else_has_written_is_not_said(app, signed_in, cookie):
    contact = await insert(app, "New", "lovelace@example.com")
    signed_in.http.cookie_jar.update_cookies({COOKIE: cookie})
    status, page = await signed_in.get(f"contacts/{contact}")
    assert (status, "lovelace" in page, "Send your token" in page) == (200, False, False)
    assert Flashes().open(cookie, visitor="console", path=f"/contacts/{contact}") is None


def test_one_of_another_process_is_not_read():
    cookie = Flashes().seal(Flash("done"), visitor="ada", path="/")
    assert Flashes().open(cookie, visitor="ada", path="/") is None


@pytest.mark.parametrize("text", ["x" * 100_000, "🙂" * 50_000, "\udcff" * 5_000])
def test_however_long_a_notice_is_the_cookie_is_short(text):
    flashes = Flashes()
    cookie = flashes.seal(Flash(text), visitor="ada", path="/")
    assert len(cookie) < 2 * LONGEST_TEXT
    opened = flashes.open(cookie, visitor="ada", path="/")
    assert opened is not None
    assert 0 < len(opened.text.encode()) <= LONGEST_TEXT
