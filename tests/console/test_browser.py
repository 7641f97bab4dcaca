"""The console as people use it: a real browser, with and without script, in both schemes, wide and narrow.

Needs Chromium and the packages of .requirements/browser.txt; skipped with that reason where they are missing. SCREENSHOTS=FOLDER
keeps a picture of every page.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.console.running import TOKEN
from tests.steps import insert, read
from tests.table.test_failed_contacts import fails
from tests.tiers import slow

NEEDED = "is not installed: pip install -r .requirements/browser.txt"
playwright = pytest.importorskip("playwright.async_api", reason=f"playwright {NEEDED}")
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
PICTURES = os.environ.get("SCREENSHOTS")
VIOLATIONS = "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))"


@pytest.fixture
async def browser():
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@asynccontextmanager
async def page_of(browser, visit, *, token: str | None = TOKEN, viewport=WIDE, **options: object) -> AsyncIterator:
    """A page in a context of its own, signed in. Fails for what leaves the console, breaks its policy, or fails in script."""
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
    """Contacts in many states. The key of one that failed, with words that are as hostile as they come."""
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
    return failed


def pages(key: object) -> dict[str, str]:
    return {
        "overview": "",
        "crm": "crms/mautic",
        "contacts": "contacts?crm=brevo",
        "contacts-error": "contacts?crm=brevo&state=Error",
        "contacts-none": "contacts?crm=n8n&state=Error",
        "contact": f"contacts/{key}",
        "failures": "failures",
        "found-none": "find?q=nothing",
        "not-found": "contacts/nothing",
    }


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_every_page_can_be_used_by_everybody(browser, signed_in, filled, scheme):
    async with page_of(browser, signed_in, color_scheme=scheme) as page:
        for name, path in pages(filled).items():
            await page.goto(signed_in.where + path)
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


async def test_no_page_is_wider_than_a_telephone(browser, signed_in, filled):
    async with page_of(browser, signed_in, viewport=NARROW) as page:
        for name, path in pages(filled).items():
            await page.goto(signed_in.where + path)
            assert await page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"], name
            await picture(page, f"{name}-narrow")


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
        await at_brevo.get_by_text("Error: REJECTED: the phone number is not valid.").wait_for()
        await at_brevo.get_by_role("button", name="Queue").click()
        await page.get_by_role("status").get_by_text("brevo: the status is now Queued.").wait_for()
    assert (await read(app, filled))["sync_status"] == "Queued"


@pytest.mark.parametrize("script", [True, False])
async def test_all_that_match_are_changed_after_a_preview(app, browser, signed_in, filled, script):
    async with page_of(browser, signed_in, java_script_enabled=script) as page:
        await page.get_by_role("link", name="Contacts").click()
        await page.get_by_label("CRM", exact=True).select_option("brevo")
        await page.get_by_label("State").select_option("Queued")
        await page.get_by_role("button", name="Show").click()
        await page.get_by_role("button", name="Skip…").click()
        await page.get_by_role("heading", name="Skip: 2 contacts").wait_for()
        await page.get_by_role("button", name="Skip", exact=True).click()
        await page.get_by_role("status").get_by_text("2 contacts changed.").wait_for()
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Skipped'") == 3


async def test_the_overview_follows_while_somebody_looks(browser, signed_in):
    async with page_of(browser, signed_in) as page:
        await page.get_by_text("delivering").first.wait_for()
        # By the same console, which therefore reads anew.
        assert (await signed_in.call("PUT", "/crms/brevo/pause", {"reason": "a new key"}))[0] == 200
        await page.get_by_text("paused by hand").wait_for()


async def test_the_keyboard_reaches_everything(browser, signed_in, filled):
    async with page_of(browser, signed_in) as page:
        await page.goto(f"{signed_in.where}contacts/{filled}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        reached = set()
        for _ in range(60):
            await page.keyboard.press("Tab")
            reached.add(await page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()"))
        assert {"BUTTON Queue", "BUTTON Skip", "A Overview", "SUMMARY The same in SQL"} <= reached


async def picture(page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)
