"""The console as people use it: a real browser, with and without script, in both schemes, wide and narrow.

Needs Chromium and the packages of .requirements/browser.txt; otherwise skipped with that reason. SCREENSHOTS=FOLDER saves a
picture of every page.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import pytest

from crm_sync import __version__
from crm_sync.postgres import locks
from tests.console.running import TOKEN, visiting
from tests.steps import insert, read
from tests.table.test_failed_contacts import fails
from tests.tiers import slow

NEEDED = "is not installed: pip install -r .requirements/browser.txt"
playwright = pytest.importorskip("playwright.async_api", reason=f"playwright {NEEDED}")
Image = pytest.importorskip("PIL.Image", reason=f"pillow {NEEDED}")
axe = pytest.importorskip("axe_playwright_python.async_playwright", reason=f"axe-playwright-python {NEEDED}")
CHROMIUM = shutil.which("chromium")
pytestmark = [slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SCHEMES = ("light", "dark")
NARROW = {"width": 360, "height": 780}
WIDE = {"width": 1200, "height": 860}
HIGHEST = 1_400  # pixels of a picture
COLOURS = 48
PICTURES = os.environ.get("SCREENSHOTS")
SEEN = "state => Object.defineProperty(document, 'visibilityState', {configurable: true, get: () => state})"
# Tables that show only a part of their columns at once.
SIDEWAYS = """
    [...document.querySelectorAll('.scroll')].filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth)
    .map(one => one.ariaLabel)
"""
VIOLATIONS = "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))"


@pytest.fixture
async def browser():
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def signed_in(app, console_url):
    """With credentials of one CRM, so that the page can show what would be sent to it."""
    credentials = {"brevo_api_key": "xkeysib-of-the-tests", "brevo_base_url": "http://127.0.0.1:1"}
    async with visiting(console_url, environment=credentials) as visit:
        await visit.sign_in()
        yield visit


@asynccontextmanager
async def page_of(browser, visit, *, token: str | None = TOKEN, viewport=WIDE, **options: object) -> AsyncIterator:
    """A page in its own context, signed in. Fails if anything leaves the console, violates its policy, or fails in a script."""
    context = await browser.new_context(viewport=viewport, **options)
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("request", lambda request: None if request.url.startswith(visit.where) else wrong.append(f"elsewhere: {request.url}"))
    if options.get("java_script_enabled", True):
        await page.add_init_script(VIOLATIONS)
    if token is not None:
        await page.goto(f"{visit.where}login?token={token}")
    yield page
    if options.get("java_script_enabled", True):
        wrong += [f"policy: {one}" for one in await page.evaluate("window.violations")]
    await context.close()
    assert wrong == []


@pytest.fixture
async def filled(app):
    """Contacts in many states, lanes with a story, and two weeks of minutes. Yields the key of a failed contact; others have the
    longest and most hostile texts.
    """
    for number, state in enumerate(("New", "Selected", "Queued", "Skipped", "Queued")):
        await insert(app, state, f"person{number}@example.com")
    failed = await fails(app, email="failed@example.com", error="REJECTED: the phone number is not valid")
    await fails(app, email="long@example.com", error=f"{'W' * 200}: {'long ' * 90}")
    await fails(app, email="hostile@example.com", error="<script>document.title = 'taken'</script>: <img src=x onerror=alert(1)>")
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'a new key' WHERE crm = 'mautic'")
    await app.execute(
        "UPDATE crm_sync.lanes SET breaker = 'open', openings = 2, breaker_since = now() - interval '7 min', "
        "breaker_reason = 'CRM_ERROR: 503', next_probe_at = now() + interval '30 s' WHERE crm = 'hubspot'"
    )
    for number in range(40):
        await insert(app, "Complete" if number % 4 else "New", f"customer{number}@example.com")
    for statement in (MINUTES, STORY, ALERT, SNAPSHOT, PROGRESS):
        await app.execute(statement)
    await app.execute(WORKER, __version__)
    await app.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)
    await app.execute(ATTEMPTS, str(failed))
    return failed


# As many as on a working day: more by day, some failures, an outage an hour ago.
MINUTES = """
    INSERT INTO crm_sync.minutes (minute, crm, worker, delivered, rejected, retried, requests, latency)
    SELECT
        date_trunc('minute', now()) - make_interval(mins => m),
        c.crm,
        1,
        CASE WHEN m BETWEEN 31 AND 38 THEN 0 ELSE 40 + (30 * sin(m / 229.0))::integer + m * 7 % 23 END,
        CASE WHEN m % 11 = 0 THEN 3 ELSE 0 END,
        CASE WHEN m BETWEEN 29 AND 31 THEN 25 ELSE 0 END,
        12,
        ARRAY[
            0, 1, 5, 20, 30, 20 + m % 9, 8, 4, 2, m % 3, 0, CASE WHEN m BETWEEN 28 AND 30 THEN 60 ELSE 0 END,
            0, 0, 0, 0, 0, 0, 0
        ]
    FROM generate_series(0, 14 * 1440) AS m
    CROSS JOIN (VALUES ('hubspot'), ('brevo'), ('n8n')) AS c (crm)
"""
STORY = """
    INSERT INTO crm_sync.events (at, event, crm, actor, via, details)
    SELECT now() - make_interval(mins => s.ago), s.event, s.crm, s.actor, s.via, s.details::jsonb
    FROM (
        VALUES
        (3, 'lane_held', 'mautic', 'ada', 'command', '{"reason": "a new key"}'),
        (7, 'breaker_opened', 'hubspot', 'worker 1', 'worker', '{"reason": "CRM_ERROR: 503"}'),
        (31, 'breaker_closed', 'brevo', 'worker 1', 'worker', '{"down_s": 420}'),
        (38, 'breaker_opened', 'brevo', 'worker 1', 'worker', '{"reason": "TIMEOUT: no answer in time"}'),
        (95, 'contacts_retried', 'brevo', 'grace', 'console', '{"contacts": 120, "codes": ["TIMEOUT"]}'),
        (96, 'contact_revealed', NULL, 'grace', 'console', '{"contact": "9f86d081884c7d65"}'),
        (300, 'worker_started', NULL, 'worker 1', 'worker', '{"host": "app-1"}'),
        (301, 'worker_stopped', NULL, 'worker 0', 'worker', '{"in_flight": 0}')
    ) AS s (ago, event, crm, actor, via, details)
"""
ALERT = """
    INSERT INTO crm_sync.alerts (id, condition, crm, since, first_seen_at, seen_at, raised_at, contacts, reason)
    VALUES (1, 'LANE_DOWN', 'hubspot', now() - interval '7 min', now(), now(), now(), 1204, 'CRM_ERROR: 503')
"""
# A worker that is alive as long as this session.
WORKER = """
    INSERT INTO crm_sync.workers (id, host, pid, version, started_at, backend_pid)
    VALUES (1, 'app-1', 4711, $1, now() - interval '5 hours', pg_backend_pid())
"""
SNAPSHOT = """
    INSERT INTO crm_sync.snapshot (crm, state, contacts, latest, at, took_s)
    SELECT c.crm, s.state, s.contacts, now() - interval '2 s', now() - interval '40 s', 0.4
    FROM crm_sync.lanes AS c
    CROSS JOIN (VALUES ('new', 10422), ('selected', 310), ('skipped', 2044), ('complete', 981120)) AS s (state, contacts)
"""
DELIVERED = """
    UPDATE contacts
    SET
        brevo_sync_status = 'Complete',
        brevo_processing_status = 'Complete',
        brevo_due_at = NULL,
        brevo_contact_id = '4711',
        brevo_synced_at = now()
    WHERE id = $1
"""
PROGRESS = """
    INSERT INTO crm_sync.progress (crm, worker, at, delivered, delivered_at, limits, claims, refused)
    SELECT c.crm, 1, now(), array_fill(12, ARRAY[60]), now(), '100/10s, 300000/day', '{}', '{}'
    FROM (VALUES ('brevo'), ('n8n')) AS c (crm)
"""
ATTEMPTS = """
    INSERT INTO crm_sync.history (
        at, key, crm, operation, outcome, code, reason, attempt, waited_ms, took_ms, status, request_id
    )
    SELECT
        now() - make_interval(mins => a.ago), $1::text, 'brevo', 'upsert', a.outcome, a.code, a.reason, a.attempt,
        a.ago * 60000, 180, a.status, a.request_id
    FROM (
        VALUES
        (40, 'retry', 'TIMEOUT', 'no answer in time', 1, NULL, NULL),
        (2, 'rejected', 'REJECTED', 'the phone number is not valid', 2, 400, '01J9XV7Z')
    ) AS a (ago, outcome, code, reason, attempt, status, request_id)
"""


def pages(key: object) -> dict[str, str]:
    return {
        "overview": "",
        "crm": "crms/brevo",
        "crm-14-days": "crms/brevo?span=fortnight",
        "crm-paused": "crms/mautic",
        "contacts": "contacts?crm=brevo",
        "contacts-error": "contacts?crm=brevo&state=Error",
        "contacts-none": "contacts?crm=n8n&state=Error",
        "contact": f"contacts/{key}",
        "failures": "failures",
        "events": "events",
        "events-none": "events?event=on_delete_set",
        "found-none": "find?q=nothing",
        "not-found": "contacts/nothing",
    }


# Reached by a button: the page it is on, and its name.
REACHED = {
    "contact-revealed": ("contacts/{key}", "Reveal the address and what would be sent"),
    "selection": ("contacts?crm=brevo&state=Error", "Queue…"),
    "retry": ("failures", "Retry brevo, REJECTED"),
}


async def visited(page, visit, key):
    """Each page in turn. Yields its name."""
    for name, path in pages(key).items():
        await page.goto(visit.where + path)
        yield name
    for name, (path, button) in REACHED.items():
        await page.goto(visit.where + path.format(key=key))
        await page.get_by_role("button", name=button).first.click()
        yield name


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_every_page_can_be_used_by_everybody(browser, signed_in, filled, scheme):
    async with page_of(browser, signed_in, color_scheme=scheme) as page:
        async for name in visited(page, signed_in, filled):
            found = await axe.Axe().run(page)
            assert found.violations_count == 0, f"{name}: {found.generate_report()}"
            assert await page.title() != "taken"
            await picture(page, f"{name}-{scheme}")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_door_can_be_used_by_everybody(browser, visit, scheme):
    async with page_of(browser, visit, token=None, color_scheme=scheme) as page:
        await page.goto(visit.where)
        found = await axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        await picture(page, f"login-{scheme}")


# A telephone, a page at 200 % on a screen of 1280 pixels, a tablet, and the narrowest where keys are in one line.
@pytest.mark.parametrize("width", [NARROW["width"], 640, 1024, 1100])
async def test_no_page_is_wider_than_its_window_nor_than_a_telephone(browser, signed_in, filled, width):
    async with page_of(browser, signed_in, viewport={**NARROW, "width": width}) as page:
        async for name in visited(page, signed_in, filled):
            assert await page.evaluate("document.scrollingElement.scrollWidth") <= width, name
            assert await page.evaluate(SIDEWAYS) == [], name
            if width == NARROW["width"]:
                await picture(page, f"{name}-narrow")


async def test_a_page_in_trouble_is_no_wider_than_a_telephone_whatever_it_quotes(browser, signed_in):
    async with page_of(browser, signed_in, viewport=NARROW) as page:
        for path in (f"contacts/{'x' * 4_000}", f"crms/{'x' * 4_000}", f"find?q={'x' * 4_000}"):
            await page.goto(signed_in.where + path)
            assert await page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"], path[:10]


async def test_a_number_of_the_overview_is_in_one_line(browser, signed_in, filled):
    async with page_of(browser, signed_in) as page:
        for path in ("", "crms/brevo"):
            await page.goto(signed_in.where + path)
            await page.evaluate("document.querySelectorAll('.figures dd').forEach(one => { one.textContent = '≈48,123,699' })")
            for number in await page.locator(".figures dd").all():
                assert (await number.bounding_box())["height"] < 40
            assert await page.evaluate("document.scrollingElement.scrollWidth") <= WIDE["width"]


async def test_what_to_do_with_a_contact_is_in_one_line_on_the_narrowest_telephone(browser, signed_in, filled):
    async with page_of(browser, signed_in, viewport={"width": 360, "height": 800}) as page:
        await page.goto(f"{signed_in.where}{pages(filled)['contact']}")
        buttons = await page.get_by_role("region", name="brevo").locator(".actions button").all()
        assert len(buttons) > 3
        assert len({(await button.bounding_box())["y"] for button in buttons}) == 1


@pytest.mark.parametrize("script", [True, False])
async def test_somebody_finds_a_contact_reads_why_and_puts_it_right(app, browser, visit, filled, script):
    async with page_of(browser, visit, token=None, java_script_enabled=script) as page:
        await page.goto(visit.where)
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Overview").wait_for()
        if script:
            await page.keyboard.press("/")
            await page.keyboard.type("failed@example.com")
            await page.keyboard.press("Enter")
        else:
            await page.get_by_role("searchbox").fill("failed@example.com")
            await page.get_by_role("searchbox").press("Enter")
        at_brevo = page.get_by_role("region", name="brevo")
        await at_brevo.get_by_text("It was refused with REJECTED").wait_for()
        await at_brevo.get_by_role("button", name="Queue").click()
        await page.get_by_role("status").get_by_text("brevo: the status is now Queued.").wait_for()
    assert (await read(app, filled))["sync_status"] == "Queued"


@pytest.mark.parametrize("script", [True, False])
async def test_what_is_searched_for_stays_out_of_the_history_of_the_browser(browser, signed_in, filled, script):
    async with page_of(browser, signed_in, java_script_enabled=script) as page:
        visited: list[str] = []
        page.on("framenavigated", lambda frame: visited.append(frame.url))
        await page.get_by_role("searchbox").fill("nobody@example.com")
        await page.get_by_role("searchbox").press("Enter")
        nobody = page.get_by_role("heading", name="No contacts for")
        await nobody.wait_for()
        await page.reload()
        await nobody.wait_for()
        await page.get_by_role("searchbox").fill("failed@example.com")
        await page.get_by_role("searchbox").press("Enter")
        await page.get_by_role("region", name="brevo").wait_for()
        await page.go_back()
        await nobody.wait_for()
        assert len(visited) == 4
        assert not any("nobody" in url or "failed" in url for url in visited)


@pytest.mark.parametrize("script", [True, False])
async def test_all_that_match_are_changed_after_a_preview(app, browser, signed_in, filled, script):
    async with page_of(browser, signed_in, java_script_enabled=script) as page:
        await page.get_by_role("link", name="Contacts").click()
        await page.get_by_label("CRM", exact=True).select_option("brevo")
        await page.get_by_label("State").select_option("Queued")
        await page.get_by_role("button", name="Show").click()
        await page.get_by_role("button", name="Skip…").click()
        await page.get_by_role("heading", name="Skip: 2 contacts").wait_for()
        await page.get_by_role("button", name="Skip 2 contacts").click()
        await page.get_by_role("status").get_by_text("2 contacts changed.").wait_for()
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Skipped'") == 3


async def test_the_overview_follows_while_somebody_looks(browser, signed_in):
    async with page_of(browser, signed_in) as page:
        await page.get_by_text("no worker").first.wait_for()
        # Through the same console, which therefore reads again.
        assert (await signed_in.call("PUT", "/crms/brevo/pause", {"reason": "a new key"}))[0] == 200
        await page.get_by_text("paused by hand").first.wait_for()


async def test_a_contact_that_waits_is_followed_until_it_is_there(app, browser, signed_in, filled):
    contact = await insert(app, "Selected", "waits@example.com")
    async with page_of(browser, signed_in) as page:
        await page.goto(f"{signed_in.where}contacts/{contact}")
        at_brevo = page.get_by_role("region", name="brevo")
        await at_brevo.get_by_role("button", name="Queue").click()
        await page.get_by_text("the status is now Queued").wait_for()
        await at_brevo.get_by_text("The same in SQL").click()
        await page.get_by_role("link", name="Refresh").focus()
        await app.execute("SET session_replication_role = replica")
        await app.execute(DELIVERED, contact)
        await at_brevo.get_by_text("It was delivered").wait_for()
        assert await at_brevo.get_by_text("UPDATE public.contacts").first.is_visible(), "what was open stays open"
        assert await page.evaluate("document.activeElement.textContent") == "Refresh"
        await page.get_by_role("status").get_by_text("brevo: delivered.").wait_for(state="attached")
        assert await page.get_by_text("the status is now Queued").count() == 0, "which it is no longer"


async def test_a_contact_is_asked_for_ever_less_and_in_the_end_no_more(app, browser, signed_in):
    contact = await insert(app, "Queued")
    async with page_of(browser, signed_in) as page:
        await page.clock.install()
        await page.goto(f"{signed_in.where}contacts/{contact}")
        follows = "window.follows = 0; document.body.addEventListener('follow', () => { window.follows += 1 })"
        await page.evaluate(follows)
        counted = []
        for seconds in (60, 540, 3600):
            await page.clock.run_for(seconds * 1000)
            counted.append(await page.evaluate("window.follows"))
        assert counted == [30, 30 + 54, 30 + 54]
        await page.evaluate(SEEN, "hidden")
        await page.clock.run_for(60_000)
        assert await page.evaluate("window.follows") == counted[-1]


@pytest.mark.parametrize(("script", "told"), [(True, "GMT+9"), (False, "UTC")])
async def test_times_are_told_by_the_clock_of_the_browser_where_that_can_be_known(browser, signed_in, filled, script, told):
    async with page_of(browser, signed_in, java_script_enabled=script, timezone_id="Asia/Tokyo") as page:
        await page.goto(f"{signed_in.where}events")
        moments = await page.locator("td time.moment").all_text_contents()
        assert moments
        assert all(one.endswith(f" {told}") for one in moments)
        if script:
            assert (await page.locator("td time.moment").first.get_attribute("title") or "").endswith(" UTC")


@pytest.mark.parametrize("script", [True, False])
async def test_a_page_that_is_loaded_again_sends_nothing_again(app, browser, signed_in, filled, script):
    async with page_of(browser, signed_in, java_script_enabled=script) as page:
        await page.goto(f"{signed_in.where}contacts/{filled}")
        await page.get_by_role("region", name="brevo").get_by_role("button", name="Queue").click()
        await page.get_by_text("brevo: the status is now Queued.").wait_for()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.method))
        await page.reload()
        assert "POST" not in asked
        assert await page.get_by_text("brevo: the status is now Queued.").count() == 0


async def test_a_page_that_gets_no_answer_says_so_until_it_gets_one(browser, signed_in):
    async with page_of(browser, signed_in) as page:
        told = page.get_by_text("The console does not answer")
        await page.route("**/parts/overview*", lambda route: route.abort())
        await told.wait_for()
        await page.unroute("**/parts/overview*")
        await told.wait_for(state="hidden")


async def test_a_button_that_is_pressed_twice_sends_once(app, browser, signed_in):
    contact = await insert(app, "New")
    async with page_of(browser, signed_in) as page:
        await page.goto(f"{signed_in.where}contacts/{contact}")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        await page.get_by_role("region", name="brevo").get_by_role("button", name="Queue").dblclick()
        await page.get_by_text("brevo: the status is now Queued.").wait_for()
        assert len(sent) == 1


async def test_a_hidden_tab_asks_for_nothing_until_it_is_seen_again(browser, signed_in):
    async with page_of(browser, signed_in) as page:
        await page.clock.install()
        await page.goto(signed_in.where)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/parts/" in request.url else None)
        await page.evaluate(SEEN, "hidden")
        await page.clock.run_for(60_000)
        assert asked == []
        await page.evaluate(SEEN, "visible")
        async with page.expect_request("**/parts/overview*"):
            await page.clock.run_for(4_000)


async def test_what_has_the_focus_keeps_it_when_the_overview_is_drawn_anew(browser, signed_in, filled):
    async with page_of(browser, signed_in) as page:
        await page.get_by_role("link", name="brevo", exact=True).first.focus()
        assert (await signed_in.call("PUT", "/crms/n8n/pause", {"reason": "a new key"}))[0] == 200
        await page.get_by_role("article", name="n8n").get_by_text("paused").first.wait_for()
        assert await page.evaluate("document.activeElement.textContent") == "brevo"


async def test_the_keyboard_reaches_everything(browser, signed_in, filled):
    async with page_of(browser, signed_in) as page:
        await page.goto(f"{signed_in.where}contacts/{filled}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        reached = set()
        for _ in range(60):
            await page.keyboard.press("Tab")
            reached.add(await page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()"))
        assert {
            "BUTTON Queue",
            "BUTTON Skip",
            "A Overview",
            "SUMMARY The same in SQL",
            "BUTTON Reveal the address and what would be sent",
        } <= reached


async def picture(page, name: str) -> None:
    """With few colours, because it is kept in the repository."""
    if PICTURES:
        size = await page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], HIGHEST)}
        taken = Image.open(BytesIO(await page.screenshot(full_page=True, clip=clip))).convert("RGB")
        taken.quantize(COLOURS, dither=Image.Dither.NONE).save(Path(PICTURES) / f"{name}.png", optimize=True)
