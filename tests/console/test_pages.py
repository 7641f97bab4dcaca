"""What the pages show, and what their buttons do."""

import html
import re
from datetime import timedelta

import pytest

from crm_sync.postgres import locks
from crm_sync.reports import snapshot_counts
from crm_sync.table.contact_list import ContactList
from tests.console.running import visiting
from tests.steps import insert, read
from tests.table.test_failed_contacts import fails

HOSTILE = "<script>alert(1)</script>"


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


async def test_the_overview_says_how_each_crm_is(app, signed_in):
    await insert(app, "Queued")
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = 'a new key' WHERE crm = 'mautic'")
    status, page = await signed_in.get("")
    said = text_of(page)
    assert status == 200
    assert "No worker is running" in said
    assert re.search(r"brevo ▲ no worker Ready 1 Waiting 0 In flight 0 In Error 0", said)
    assert re.search(r"mautic ❚❚ paused Paused by hand since .*: a new key", said)


async def living_worker(app):
    await app.execute(
        "INSERT INTO crm_sync.workers (id, host, pid, version, backend_pid) VALUES (1, 'vm', 1, '0', pg_backend_pid())"
    )
    await app.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)


async def test_the_page_of_a_crm_says_its_state_once(app, signed_in):
    await living_worker(app)
    await insert(app, "Queued")
    said = text_of((await signed_in.get("crms/brevo"))[1])
    assert said.lower().count("delivering") == 1


async def test_a_crm_with_nothing_to_do_is_idle(app, signed_in):
    await living_worker(app)
    assert "brevo ○ idle No contact is ready or in flight." in text_of((await signed_in.get("crms/brevo"))[1])
    assert re.search(r"brevo ○ idle Ready 0", text_of((await signed_in.get(""))[1]))


@pytest.mark.parametrize(
    ("is_claimed", "why"), [(False, "has no credentials where the worker runs"), (True, "its requests hang")]
)
async def test_a_crm_that_has_delivered_nothing_for_an_hour_is_not_said_to_deliver(app, signed_in, is_claimed, why):
    await living_worker(app)
    for _ in range(2):
        await insert(app, "Queued")
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        "UPDATE contacts SET brevo_flipped_at = brevo_flipped_at - interval '1 h', brevo_due_at = brevo_due_at - interval '1 h'"
    )
    await app.execute("UPDATE crm_sync.brevo_line SET due_at = due_at - interval '1 h'")
    if is_claimed:
        await app.execute(
            "UPDATE contacts SET brevo_claimed_by = 1, brevo_sync_status = 'Processing' "
            "WHERE ctid = (SELECT max(c.ctid) FROM contacts AS c)"
        )
    assert re.search(f"brevo ▲ stalled Contacts are ready.*{why}", text_of((await signed_in.get(""))[1]))
    assert re.search(f"brevo ▲ stalled Contacts are ready.*{why}", text_of((await signed_in.get("crms/brevo"))[1]))
    assert (await signed_in.call("GET", "/crms/brevo"))[2]["state"] == "stalled"


async def test_the_overview_is_drawn_again_only_when_it_was_read_again(app, signed_in):
    _, page = await signed_in.get("")
    part = html.unescape(re.search(r'hx-get="/([^"]+)"', page)[1])
    assert (await signed_in.get(part))[0] == 204
    assert (await signed_in.call("PUT", "/crms/brevo/pause", {"reason": "a new key"}))[0] == 200
    status, page = await signed_in.get(part)
    assert (status, "a new key" in page) == (200, True)
    assert 'role="status"' not in page, "it would be read aloud each time"


async def test_a_small_table_is_counted_when_it_is_looked_at(app, signed_in):
    await insert(app, "New")
    said = text_of((await signed_in.get("crms/brevo"))[1])
    assert "New 1 Selected 0" in said
    assert "All contacts were counted just now." in said


async def test_of_a_table_that_is_not_small_the_age_of_the_count_is_said(app, signed_in, monkeypatch):
    monkeypatch.setattr(snapshot_counts, "SMALL", 0)
    await insert(app, "New")
    assert "are not counted yet" in text_of((await signed_in.get("crms/brevo"))[1])


async def test_a_failure_has_its_time_although_the_contact_has_failed_elsewhere_since(app, signed_in):
    failed = await fails(app, error="REJECTED: no")
    await app.execute("UPDATE contacts SET last_failed_crm = 'hubspot', last_retry_at = now() WHERE id = $1", failed)
    await app.execute("INSERT INTO crm_sync.alert_codes VALUES ('brevo', 'REJECTED', now(), now() - interval '3 hours', 1)")
    said = text_of((await signed_in.get("failures"))[1])
    assert re.search(r"REJECTED 1 1 3 h ago", said), said


async def test_an_overview_without_alerts_has_none(app, signed_in):
    assert "Open alerts" not in (await signed_in.get(""))[1]


async def test_the_overview_says_what_to_do_about_the_alerts_that_are_open(app, signed_in):
    await app.execute(
        "INSERT INTO crm_sync.alerts "
        "(id, condition, crm, since, first_seen_at, seen_at, raised_at, contacts, reason, well_since, ended_at) "
        "SELECT n, c, 'brevo', now(), now(), now(), now(), 1, 'CRM_ERROR: 503', over_at, over_at "
        "FROM (VALUES (1, 'LANE_DOWN', NULL::timestamptz), (2, 'SILENCE', NULL), (3, 'ERRORS', now())) AS a (n, c, over_at)"
    )
    for path in ("", "parts/overview"):
        page = (await signed_in.get(path))[1]
        assert 'events">All alerts</a>' in page
        for words in (
            "brevo is down, so its contacts wait. CRM_ERROR: 503. To do: check the CRM",
            "brevo has contacts in line, but finishes none. CRM_ERROR: 503. To do: check whether a worker",
        ):
            assert words in text_of(page)
        assert "failing attempts" not in text_of(page)


async def test_what_stops_a_crm_is_said_before_codes_of_which_there_can_be_many(app, signed_in):
    await app.execute(
        "INSERT INTO crm_sync.alerts (id, condition, crm, code, since, first_seen_at, seen_at, raised_at, contacts, reason) "
        "SELECT n, c, 'brevo', code, now() - make_interval(mins => 60 * n), now(), now(), now(), 1, 'as it is' "
        "FROM (VALUES (1, 'NEW_CODE', 'REJECTED'), (2, 'NEW_CODE', 'DUPLICATE'), (3, 'NEW_CODE', 'INVALID_EMAIL'), "
        "(4, 'SILENCE', ''), (5, 'LANE_DOWN', '')) AS a (n, c, code)"
    )
    said = text_of((await signed_in.get(""))[1])
    assert re.search(r"brevo is down.* but finishes none.* with DUPLICATE, a code.* 2 more alerts", said), said
    assert "with INVALID_EMAIL" not in said
    assert "To do: correct what" not in said, "that of REJECTED"
    assert "In a terminal" not in said
    assert "brevo is down" in text_of((await signed_in.get("crms/brevo"))[1])
    assert "brevo is down" not in text_of((await signed_in.get("crms/hubspot"))[1])
    crms = (await signed_in.call("GET", "/crms"))[2]
    assert [(one["alert"], one["code"]) for one in crms["alerts"]][:3] == [
        ("LANE_DOWN", None),
        ("SILENCE", None),
        ("NEW_CODE", "DUPLICATE"),
    ]


async def test_an_alert_about_a_code_leads_to_the_contacts_with_it(app, signed_in):
    await app.execute(
        "INSERT INTO crm_sync.alerts (id, condition, crm, code, since, first_seen_at, seen_at, raised_at, contacts, reason) "
        "SELECT n, c, 'brevo', code, now(), now(), now(), now(), 1, 'REJECTED: no' "
        "FROM (VALUES (1, 'NEW_CODE', 'REJECTED'), (2, 'LANE_DOWN', '')) AS a (n, c, code)"
    )
    _, page = await signed_in.get("events")
    assert re.findall(r'<a href="([^"]+)">The contacts with REJECTED</a>', page) == ["/contacts?crm=brevo&amp;code=REJECTED"]
    assert page.count("The contacts with") == 1


async def test_one_reading_serves_all_that_look(app, signed_in):
    await signed_in.get("")
    before = await app.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    for _ in range(20):
        await signed_in.get("parts/overview")
    await app.execute("SELECT pg_stat_clear_snapshot()")
    after = await app.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    assert after - before < 10


async def test_a_contact_is_found_by_address_key_and_id(app, signed_in):
    contact = await insert(app, "New", "Ada@Example.com")
    await app.execute("SET session_replication_role = replica")
    await app.execute("UPDATE contacts SET brevo_contact_id = '4711', brevo_sync_status = 'Complete' WHERE id = $1", contact)
    for asked in (" ada@example.com", str(contact), "4711"):
        async with signed_in.http.get(signed_in.where + "find", params={"q": asked}, allow_redirects=False) as response:
            assert (response.status, response.headers.get("Location")) == (303, f"/contacts/{contact}"), asked
    status, page = await signed_in.get("find?q=nobody@example.com")
    assert (status, "No contacts for" in text_of(page)) == (200, True)


async def test_an_address_is_masked_wherever_a_contact_stands(app, signed_in):
    contact = await insert(app, "New", "lovelace@example.com")
    for path in (f"contacts/{contact}", "contacts?crm=brevo"):
        _, page = await signed_in.get(path)
        assert "l***@example.com" in page
        assert "lovelace" not in page


async def test_a_contact_says_where_it_stands_at_each_crm_and_what_to_do(app, signed_in):
    contact = await fails(app, error="REJECTED: the phone number is not valid")
    _, page = await signed_in.get(f"contacts/{contact}")
    said = text_of(page)
    assert "It was refused with REJECTED, the CRM refused this contact: the phone number is not valid." in said
    assert "To do: correct what the CRM's message names, then queue it again" in said
    assert f"UPDATE public.contacts SET \"brevo_sync_status\" = 'Queued' WHERE \"id\" = '{contact}';" in said
    assert f"crm-sync retry --crm brevo --key {contact}" in said


@pytest.mark.parametrize("wish", ["Queued", "Selected", "Skipped"])
async def test_a_button_does_what_it_says_and_its_sql_does_the_same(app, signed_in, wish):
    contact, other = await insert(app, "New"), await insert(app, "New", "b@example.com")
    status, page = await signed_in.done(f"contacts/{contact}/brevo", {"status": wish})
    assert (status, f"brevo: the status is now {wish}." in text_of(page)) == (200, True)
    assert (await read(app, contact))["sync_status"] == wish
    _, page = await signed_in.get(f"contacts/{other}")
    [statement] = [
        one for one in re.findall(r"<code>(UPDATE.*?)</code>", page, re.DOTALL) if f"brevo_sync_status&#34; = &#39;{wish}" in one
    ]
    await app.execute(html.unescape(statement))
    assert (await read(app, other))["sync_status"] == wish


async def test_a_contact_that_is_locked_is_not_waited_for(app, other_app, signed_in):
    contact = await insert(app, "New")
    async with other_app.transaction():
        await other_app.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", contact)
        _, page = await signed_in.done(f"contacts/{contact}/brevo", {"status": "Queued"})
    assert "another transaction has locked the contact" in text_of(page)


async def test_all_that_match_change_after_a_preview_that_counts_them(app, signed_in):
    for number in range(7):
        await insert(app, "Selected" if number < 5 else "New", f"{number}@example.com")
    asked = {"crm": "brevo", "state": "Selected", "status": "Queued"}
    _, page = await signed_in.done("selections", asked)
    assert "Queue: 5 contacts" in text_of(page)
    assert "WHERE \"brevo_sync_status\" = 'Selected'" in text_of(page)
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'") == 0
    _, page = await signed_in.done("selections", {**asked, "confirm": "yes"})
    assert "5 contacts changed." in text_of(page)
    counts = await app.fetch("SELECT brevo_sync_status::text, count(*) FROM contacts GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in counts] == [("New", 2), ("Queued", 5)]


async def test_contacts_with_a_code_say_what_it_means_and_what_to_do(app, signed_in):
    await fails(app, error="REJECTED: no")
    said = text_of((await signed_in.get("contacts?crm=brevo&code=REJECTED"))[1])
    assert "REJECTED: the CRM refused this contact. To do: correct what the CRM's message names" in said
    assert (await signed_in.get("contacts?crm=brevo&code=OF_SOMEBODY_ELSE"))[0] == 200


async def test_a_page_of_contacts_that_is_not_full_says_among_how_many(app, signed_in, monkeypatch):
    for number in range(210):
        await insert(app, "New", f"{number}@example.com")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE id = (SELECT min(id::text)::uuid FROM contacts)")
    monkeypatch.setattr(ContactList.__init__, "__kwdefaults__", {**ContactList.__init__.__kwdefaults__, "patience_s": 0.0})
    said = text_of((await signed_in.get("contacts?crm=brevo&state=Skipped"))[1])
    assert "1 contact of brevo among 200 that were read, in the order of their keys" in said


async def test_failures_go_out_again_after_a_preview(app, signed_in):
    contact = await fails(app, error="REJECTED: no")
    kept = await fails(app, email="b@example.com", error="AMBIGUOUS: two")
    _, page = await signed_in.get("failures")
    assert "the CRM refused this contact" in html.unescape(page).lower().replace("the crm", "the CRM")
    _, page = await signed_in.done("failures", {"crm": "brevo", "code": "REJECTED"})
    assert "Retry 1 contact" in text_of(page)
    assert (await read(app, contact))["sync_status"] == "Error"
    _, page = await signed_in.done("failures", {"crm": "brevo", "code": "REJECTED", "confirm": "yes"})
    assert "1 contact changed." in text_of(page)
    assert (await read(app, contact))["sync_status"] == "Queued"
    assert (await read(app, kept))["sync_status"] == "Error"


async def test_a_reason_that_begins_with_no_code_goes_out_again_by_how_it_begins(app, signed_in):
    contact = await fails(app, error="it did not work: somehow")
    kept = await fails(app, email="b@example.com", error="nor did this")
    _, page = await signed_in.done("failures", {"crm": "brevo", "code": "it did not work"})
    assert "Retry 1 contact" in text_of(page)
    _, page = await signed_in.done("failures", {"crm": "brevo", "code": "it did not work", "confirm": "yes"})
    assert "1 contact changed." in text_of(page)
    assert [(await read(app, one))["sync_status"] for one in (contact, kept)] == ["Queued", "Error"]


async def test_a_crm_is_paused_with_a_reason_and_resumed(app, signed_in):
    assert (await signed_in.post("crms/brevo", {"act": "pause", "reason": "  "}))[0] == 409
    assert (await signed_in.post("crms/brevo", {"act": "pause", "reason": "a new key"}))[0] == 303
    assert "a new key" in text_of((await signed_in.get("crms/brevo"))[1])
    assert (await signed_in.post("crms/brevo", {"act": "resume"}))[0] == 303
    assert await app.fetchval("SELECT held_since IS NULL FROM crm_sync.lanes WHERE crm = 'brevo'")


@pytest.mark.parametrize("path", ["contacts/{key}", "contacts?crm=brevo", "failures", "crms/brevo", ""])
async def test_what_a_row_or_a_crm_says_is_text(app, signed_in, path):
    contact = await fails(app, email=f"{HOSTILE}@example.com", error=f"{HOSTILE}: {HOSTILE}")
    await app.execute("UPDATE crm_sync.lanes SET held_since = now(), held_reason = $1 WHERE crm = 'brevo'", HOSTILE)
    status, page = await signed_in.get(path.format(key=contact))
    assert status == 200
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page or path == "contacts?crm=brevo"


@pytest.mark.parametrize("query", ["<script>", "'; DROP TABLE contacts; --", "%00", "a" * 5000, "@", "\u202e@x", "🙂"])
async def test_whatever_is_looked_for_is_text(app, signed_in, query):
    contact = await insert(app, "New")
    async with signed_in.http.get(signed_in.where + "find", params={"q": query}) as response:
        assert response.status == 200
        assert "<script>" not in (await response.text()).replace("<script src", "")
    assert await app.fetchval("SELECT count(*) FROM contacts WHERE id = $1", contact) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [("contacts/nothing", 404), ("crms/nothing", 404), ("contacts?crm=nothing", 404), ("contacts?state=x", 409), ("x", 404)],
)
async def test_what_is_not_there_is_said(signed_in, path, status):
    assert (await signed_in.get(path))[0] == status


async def test_a_database_that_is_away_is_a_page_that_says_so(app, url):
    async with visiting(url) as visit:
        await visit.sign_in()
        await app.execute("ALTER TABLE crm_sync.lanes RENAME TO lanes_away")
        status, page = await visit.get("")
        assert status in (500, 503)
        assert "Something has to be fixed first" in page or "does not answer" in page


async def test_the_figure_of_failed_attempts_leads_to_the_contacts_that_failed_then(app, signed_in):
    now = await app.fetchval("SELECT now()")
    new = await fails(app, "new@example.com", last_failed_crm="brevo", last_retry_at=now)
    old = await fails(app, "old@example.com", last_failed_crm="brevo", last_retry_at=now - timedelta(hours=2))
    await app.execute(
        "INSERT INTO crm_sync.minutes (crm, minute, worker, rejected, latency) "
        "VALUES ('brevo', date_trunc('minute', now()), 1, 1, '{}')"
    )
    for path in ("", "crms/brevo"):
        page = html.unescape((await signed_in.get(path))[1])
        assert "1 attempt failed" in text_of(page)
        assert 'href="/contacts?crm=brevo&failed=hour"' in page
    _, page = await signed_in.get("contacts?crm=brevo&failed=hour")
    assert (str(new) in page, str(old) in page) == (True, False)
    assert "Contacts that have failed in the last hour and were not delivered since" in text_of(page)
    assert "goes by state and code, not by time" in text_of(page)
    assert 'action="/selections"' not in page
    _, page = await signed_in.get("contacts?crm=brevo&failed=day")
    assert (str(new) in page, str(old) in page) == (True, True)
    assert (await signed_in.get("contacts?crm=brevo&failed=year"))[0] == 409
    _, _, said = await signed_in.call("GET", "/contacts?crm=brevo&since_seconds=3600")
    assert [one["key"] for one in said["contacts"]] == [str(new)]
