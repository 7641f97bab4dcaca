"""The API over HTTP, as an application calls it."""

import asyncio
import re
from pathlib import Path

import pytest

import crm_sync
from tests.console.running import TOKEN, visiting
from tests.manual import page
from tests.steps import insert, read
from tests.table.test_failed_contacts import fails

PACKAGE = Path(crm_sync.__path__[0])


@pytest.fixture
async def api(console_url):
    async with visiting(console_url) as visit:
        yield visit.call


async def test_crms_and_their_counts(app, api):
    await insert(app, "Queued")
    status, _, said = await api("GET", "/crms")
    assert status == 200
    by_name = {one["crm"]: one for one in said["crms"]}
    assert (by_name["brevo"]["ready"], by_name["brevo"]["state"]) == (1, "no worker")
    status, _, said = await api("GET", "/crms/brevo")
    assert (status, said["ready"]) == (200, 1)


async def test_select_queue_and_read_back(app, api):
    contact = await insert(app, "New")
    for wish in ("Selected", "Queued"):
        status, _, said = await api("POST", f"/contacts/{contact}/brevo", {"status": wish})
        assert (status, said["changed"]) == (200, 1)
    status, _, said = await api("GET", f"/contacts/{contact}")
    [at_brevo] = [one for one in said["crms"] if one["crm"] == "brevo"]
    assert (status, at_brevo["status"], at_brevo["verdict"]) == (200, "Queued", "in line")
    assert said["email"] == "a***@example.com"
    _, _, said = await api("GET", f"/contacts/{contact}?reveal=true")
    assert said["email"] == "ada@example.com"


async def test_many_by_a_filter_and_by_keys(app, api):
    keys = [str(await insert(app, "New", f"{number}@example.com")) for number in range(6)]
    asked = {"crm": "brevo", "status": "Selected", "keys": keys[:2]}
    assert (await api("POST", "/selections", asked))[2]["counted"] == 2
    assert (await api("POST", "/selections", {**asked, "dry_run": False}))[2]["changed"] == 2
    asked = {"crm": "brevo", "status": "Queued", "where": {"state": "New"}, "dry_run": False}
    assert (await api("POST", "/selections", asked))[2]["changed"] == 4
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == 4


async def test_pages_of_contacts_hold_each_once(app, api):
    for number in range(7):
        await insert(app, "New", f"{number}@example.com")
    found, after = [], ""
    while after is not None:
        _, _, page = await api("GET", f"/contacts?crm=brevo&state=New&limit=3{f'&after={after}' if after else ''}")
        found += [one["key"] for one in page["contacts"]]
        after = page["next"]
    assert len(found) == len(set(found)) == 7


async def test_failures_and_their_retry(app, api):
    contact = await fails(app, error="REJECTED: no")
    _, _, said = await api("GET", "/failures")
    assert [(one["crm"], one["code"], one["in_error"]) for one in said["failures"]] == [("brevo", "REJECTED", 1)]
    assert (await api("POST", "/retries", {"crm": "brevo"}))[2] | {"flipped": 0} == (
        await api("POST", "/retries", {"crm": "brevo"})
    )[2]
    assert (await api("POST", "/retries", {"crm": "brevo", "codes": ["REJECTED"], "dry_run": False}))[2]["flipped"] == 1
    assert (await read(app, contact))["sync_status"] == "Queued"


async def test_pause_and_resume(api):
    status, _, said = await api("PUT", "/crms/brevo/pause", {"reason": "a new key"})
    assert (status, said["state"]) == (200, "paused")
    status, _, said = await api("DELETE", "/crms/brevo/pause")
    assert (status, said["state"], said["paused_since"]) == (200, "no worker", None)


async def test_of_two_who_pause_the_second_is_told_of_the_first(app, api):
    assert (await api("PUT", "/crms/brevo/pause", {"reason": "key rotation"}))[2]["note"] is None
    await app.execute("UPDATE crm_sync.events SET actor = 'ada'")
    said = (await api("PUT", "/crms/brevo/pause", {"reason": "an \u202eincident"}))[2]
    assert said["note"].startswith("brevo was paused already, since ")
    assert said["note"].endswith(" UTC, by ada: key rotation. This reason replaces it.")
    assert said["sentence"].endswith("): an incident")
    assert (await api("DELETE", "/crms/brevo/pause"))[0] == 200
    assert (await api("PUT", "/crms/brevo/pause", {"reason": "another"}))[2]["note"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/nothing", None, 404, "openapi.json"),
        ("DELETE", "/crms", None, 405, None),
        ("GET", "/crms/nothing", None, 404, "installed: "),
        ("GET", "/contacts/nothing", None, 404, "no contact has the key nothing"),
        ("GET", "/contacts/00000000-0000-0000-0000-000000000000", None, 404, "no contact has the key"),
        ("GET", "/contacts", None, 422, "crm: Field required"),
        ("GET", "/contacts?crm=brevo&state=x", None, 422, "state: Input should be"),
        ("GET", "/contacts?crm=brevo&crm=n8n", None, 422, "crm is there twice"),
        ("GET", "/contacts?crm=brevo&stat=New", None, 422, "stat: Extra inputs"),
        ("GET", "/contacts?crm=brevo&limit=100000", None, 422, "limit"),
        ("GET", "/contacts?crm=brevo&after=%00", None, 422, "NUL"),
        ("GET", "/contacts?crm=brevo&code=", None, 422, "code: it is empty"),
        ("GET", "/find?q=%20%20", None, 422, "q: it is empty"),
        ("GET", "/find?q=", None, 422, "q: "),
        ("GET", "/events?event=", None, 422, "event: it is empty"),
        ("POST", "/retries", {"crm": "", "dry_run": False}, 422, "crm: it is empty"),
        ("POST", "/retries", {"codes": [" "], "dry_run": False}, 422, "codes.0: it is empty"),
        ("POST", "/selections", {"crm": " ", "status": "Queued", "where": {}}, 422, "crm: it is empty"),
        ("POST", "/selections", {"crm": "brevo", "status": "Queued"}, 422, "either where or keys"),
        ("POST", "/selections", {"crm": "brevo", "status": "Complete", "where": {}}, 422, "status"),
        ("POST", "/selections", {"crm": "brevo", "status": "Queued", "where": {"stat": "New"}}, 422, "where.stat"),
        ("POST", "/selections", {"crm": "nothing", "status": "Queued", "where": {}}, 404, "no CRM"),
        ("POST", "/retries", None, 415, "Content-Type"),
        ("PUT", "/crms/brevo/pause", {"reason": " "}, 409, "why"),
    ],
)
async def test_what_is_wrong_is_a_problem_that_names_it(api, method, path, body, status, words):  # noqa: PLR0917
    found, headers, said = await api(method, path, body)
    assert (found, headers["Content-Type"].split(";")[0]) == (status, "application/problem+json")
    assert said["status"] == status
    assert f"### {said['title']}\n" in page("reference/api.md")
    assert said["type"].endswith(f"docs/reference/api.md#{said['title'].lower().replace(' ', '-')}")
    assert words is None or words in said["detail"]


def test_every_problem_stands_in_the_manual():
    sources = [*(PACKAGE / "api").glob("*.py"), *(PACKAGE / "console").glob("*.py")]
    text = "".join(source.read_text() for source in sources)
    titles = re.findall(r'''(?:problem|RefusedRequestError)\((?:error\.status|\d+), "([^"]+)"''', text)
    titles += re.findall(r"""Error: \(\d+, "([^"]+)"\),""", text)
    assert len(titles) > 10
    assert {title for title in titles if f"### {title}\n" not in page("reference/api.md")} == set()


async def test_a_misspelt_filter_flips_nobody(app, api):
    contact = await insert(app, "New")
    body = {"crm": "brevo", "status": "Queued", "where": {"sate": "Selected"}, "dry_run": False}
    assert (await api("POST", "/selections", body))[0] == 422
    assert (await read(app, contact))["sync_status"] == "New"


# Idempotency-Key.


async def change(api, contact, wish, key):
    headers = {"Idempotency-Key": key}
    return await api("POST", f"/contacts/{contact}/brevo", {"status": wish}, **headers)


async def test_the_same_request_again_is_answered_as_the_first_and_done_once(app, api):
    contact = await insert(app, "New")
    _, _, first = await change(api, contact, "Queued", "a-key")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE id = $1", contact)
    status, headers, second = await change(api, contact, "Queued", "a-key")
    assert (status, second, headers["Idempotent-Replayed"]) == (200, first, "true")
    assert (await read(app, contact))["sync_status"] == "Skipped"


async def test_a_key_is_for_one_request(app, api):
    contact = await insert(app, "New")
    await change(api, contact, "Queued", "a-key")
    status, _, said = await change(api, contact, "Skipped", "a-key")
    assert (status, "another request" in said["detail"]) == (422, True)
    assert (await read(app, contact))["sync_status"] == "Queued"


async def test_a_request_that_failed_may_be_sent_again_with_its_key(app, api):
    assert (await change(api, "00000000-0000-0000-0000-000000000000", "Queued", "a-key"))[0] == 404
    assert await app.fetchval("SELECT count(*) FROM crm_sync.requests") == 0


async def test_of_two_at_a_time_one_is_done(app, api):
    contact = await insert(app, "New")
    answers = await asyncio.gather(*(change(api, contact, "Queued", "a-key") for _ in range(5)))
    done = [said for status, headers, said in answers if status == 200]
    assert {status for status, _, _ in answers} <= {200, 409}
    assert all(said["changed"] == 1 for said in done)


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
async def test_a_key_that_is_none_is_refused(app, api, key):
    contact = await insert(app, "New")
    status, _, said = await change(api, contact, "Queued", key)
    assert (status, "Idempotency-Key" in said["detail"]) == (422, True)


async def test_one_that_was_never_ended_is_done_by_whoever_asks_after_a_minute(app, api):
    contact = await insert(app, "New")
    await change(api, contact, "Queued", "a-key")
    await app.execute("UPDATE crm_sync.requests SET answer = NULL")
    assert (await change(api, contact, "Queued", "a-key"))[0] == 409
    await app.execute("UPDATE crm_sync.requests SET begun_at = now() - interval '61 s'")
    assert (await change(api, contact, "Queued", "a-key"))[0] == 200


async def test_keys_are_forgotten_after_a_day(app, api):
    contact = await insert(app, "New")
    await change(api, contact, "Queued", "a-key")
    await app.execute("UPDATE crm_sync.requests SET begun_at = now() - interval '25 h'")
    await change(api, contact, "Skipped", "another")
    assert await app.fetchval("SELECT count(*) FROM crm_sync.requests") == 1
    assert TOKEN not in str(await app.fetch("SELECT name::text, request::text, answer::text FROM crm_sync.requests"))
