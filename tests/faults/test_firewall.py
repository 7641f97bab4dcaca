"""A firewall in front of a CRM objects to the content of some contacts, or refuses all: what is to blame, and what finding out
costs.

What each client makes of each status is in tests/crm/test_named_settings.py, and whom a lane blames, wherever they are in a batch
of any size, in tests/lane/test_who_is_to_blame.py. So each CRM meets one case of each kind here.
Everything is counted in requests to a client, because some need two requests to the CRM.
"""

import math
from contextlib import asynccontextmanager
from urllib.parse import unquote_plus

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.lane.refusals import ROUNDS
from crm_sync.sandbox.process import CRMS
from crm_sync.sandbox.server import Answer, Call, Fault
from tests.faults.promise import Stopwatch, said
from tests.faults.real_crms import PEOPLE, assert_delivered, assert_unharmed, complete, delivering, sandboxes
from tests.harness import until
from tests.tiers import in_turn, one_case_quick, one_quick, slow

HTML = {"Content-Type": "text/html"}
MINDED = "union select"
PAGE = b"<html><head><title>Blocked</title></head><body><h1>Not acceptable</h1> by rule 942100</body></html>"
QUICK = Waits(first_probe_s=0.02, longest_probe_s=0.02, longest_refused_probe_s=0.02, suspect_s=0.05)
UNHURRIED = Waits(first_probe_s=0.3, longest_probe_s=0.1, longest_refused_probe_s=0.1, suspect_s=0.05)
# So that a single refusal is not taken for one of all contacts before the test makes the next flip.
PATIENT = Waits(suspect_s=0.2)


def firewall(status: int, words: str = MINDED) -> Fault:
    """Refuses each request with these words in its body or its URL."""

    def minds(call: Call) -> bool:
        return words in unquote_plus(f"{call.path} {call.query} {call.body}").lower()

    return Fault(minds, answer=Answer(status, PAGE, HTML))


def everybody(status: int, body: bytes = PAGE) -> Fault:
    return Fault(answer=Answer(status, body, HTML))


async def minded(app, *numbers: int, crm: str, where: str = "first_name") -> None:
    """These contacts have content that a firewall objects to."""
    value = "n || '.union@example.com'" if where == "email" else "'Robert UNION SELECT'"
    await app.execute(
        f"UPDATE contacts AS c SET {where} = {value} FROM unnest($1::int[]) AS n WHERE c.email = n || '.person@example.com'",
        numbers,
    )


def repeats(requests) -> list:
    """Requests with a contact that was already in an earlier one."""
    seen, again = set(), []
    for request in requests:
        ids = {contact.id for contact in request}
        if ids & seen:
            again.append(request)
        seen |= ids
    return again


def waited(client, ids) -> int:
    """Further sequential requests of its search until such a contact was served: for the one that waited longest."""
    asked = [{contact.id for contact in request} for request in client.requests]
    places = {one: [place for place, request in enumerate(asked) if one in request] for one in ids}
    return max(_one_after_the_other(client, asked, first=found[0], last=found[-1]) for found in places.values())


def _one_after_the_other(client, asked, first, last) -> int:
    """Of the requests with contacts from the first one: the largest number that began only after another one had ended."""
    count, ended = 0, client.ended[first]
    for place in sorted(range(first + 1, last + 1), key=client.ended.__getitem__):
        if asked[place] <= asked[first] and client.began[place] > ended:
            count, ended = count + 1, client.ended[place]
    return count


@asynccontextmanager
async def delivering_to(url, monkeypatch, there, crm, **options):
    with capture_logs() as log:
        async with delivering(url, monkeypatch, {crm: there[crm].url}, **options) as clients:
            yield clients[crm], log


BATCHES = {"hubspot": 100, "mautic": 25, "n8n": 10}
LONGEST_WAIT = 8  # sequential requests, with any number of culprits
FIVE = {
    "apart": (7, 400, 750, 1100, 1300),
    "neighbours": (701, 702, 703, 704, 705),
    "across two parts": (732, 733, 734, 735, 736),
    "at the start": (1, 2, 3, 4, 5),
}
IN_BATCHES = ("hubspot", "mautic")
FIVE_AT = [
    ("hubspot", 403, "across two parts"),
    ("mautic", 406, "apart"),
    ("brevo", 404, "neighbours"),
    ("n8n", 404, "at the start"),
]


@slow
@pytest.mark.parametrize(("crm", "status", "where"), FIVE_AT)
async def test_five_of_1500_that_a_firewall_minds_are_named_and_hold_up_nobody(app, url, monkeypatch, crm, status, where):  # noqa: PLR0917
    if crm in IN_BATCHES:
        # So that no request of a search waits for those of others.
        monkeypatch.setenv(f"{crm.upper()}_CONCURRENCY", "64")
    await app.execute(PEOPLE.format(crm=crm), 1500)
    await minded(app, *FIVE[where], crm=crm)
    served = f"count(*) FILTER (WHERE {crm}_sync_status = 'Complete') = 1495 FROM contacts"
    named = f"count(*) FILTER (WHERE {crm}_sync_status = 'Error') = 5 FROM contacts"
    async with sandboxes(crm) as there:
        there[crm].standing_faults.append(firewall(status))
        stopwatch = Stopwatch()
        async with delivering_to(url, monkeypatch, there, crm) as (client, log):
            stopwatch.start()
            await until(app, served)
            stopwatch.tell(f"{crm}, {status}: 1495 delivered, beside five that are minded")
            await until(app, named)
            stopwatch.tell(f"{crm}, {status}: and the five named")
        again = repeats(client.requests)
        print(f"{crm}: {len(client.requests)} requests, {len(again)} of them further ones; {there[crm].request_count} of the CRM")
    others = [row["id"] for row in await app.fetch(f"SELECT id FROM contacts WHERE {crm}_sync_status = 'Complete'")]
    waits = waited(client, others)
    print(f"{crm}: no other waits longer than {waits} requests more, one after the other")
    assert waits <= LONGEST_WAIT
    reasons = await app.fetch(f"SELECT DISTINCT {crm}_processing_error FROM contacts WHERE {crm}_sync_status = 'Error'")
    page = f"{status}{', not JSON' if crm == 'n8n' and status == 404 else ''}: Blocked Not acceptable by rule 942100"
    blame = f"REJECTED: a firewall or something else in front of the CRM refuses this contact, while others are served ({page})"
    assert [reason[0] for reason in reasons] == [blame]
    assert len(again) <= 5 * (2 * math.log2(client.batch_limit) + 1)
    assert not [entry for entry in log if entry["event"] in {events.BREAKER_OPENED, events.REQUESTS_REFUSED}]


@pytest.mark.parametrize(("crm", "apart", "place"), one_case_quick([("hubspot", 1, 0.0), ("mautic", 2, 0.5), ("n8n", 1, 1.0)]))
async def test_five_in_one_batch_are_named_where_none_comes_after_it(app, url, monkeypatch, crm, apart, place):  # noqa: PLR0917
    first = 1 + round(place * (BATCHES[crm] - 4 * apart - 1))
    await app.execute(PEOPLE.format(crm=crm), BATCHES[crm])
    await minded(app, *range(first, first + 5 * apart, apart), crm=crm)
    async with sandboxes(crm) as there:
        there[crm].standing_faults.append(firewall(403))
        async with delivering_to(url, monkeypatch, there, crm, waits=PATIENT, N8N_BATCH_SIZE="10") as (client, log):
            await until(app, f"count(*) FILTER (WHERE {crm}_sync_status = 'Error') = 5 FROM contacts")
            await until(app, f"count(*) FILTER (WHERE {crm}_sync_status = 'Complete') = {BATCHES[crm] - 5} FROM contacts")
        again = repeats(client.requests)
        print(f"{crm}: {len(client.requests)} requests, {len(again)} of them further ones")
    assert len(again) <= 5 * (2 * math.log2(client.batch_limit) + 1)
    assert not [entry for entry in log if entry["event"] in {events.BREAKER_OPENED, events.REQUESTS_REFUSED}]


@slow
@pytest.mark.parametrize("crm", CRMS)
async def test_without_any_that_a_firewall_minds_no_request_is_made_twice(app, url, monkeypatch, crm):
    """The baseline for five culprits."""
    await app.execute(PEOPLE.format(crm=crm), 1500)
    async with sandboxes(crm) as there:
        stopwatch = Stopwatch()
        async with delivering_to(url, monkeypatch, there, crm) as (client, _):
            stopwatch.start()
            await until(app, complete(crm))
            stopwatch.tell(f"{crm}: 1500 delivered")
        print(f"{crm}: {len(client.requests)} requests; {there[crm].request_count} of the CRM")
        assert repeats(client.requests) == []


# Next to one culprit.

GATEWAY = Answer(403, {"message": "Forbidden"})
AWAY = Answer(302, PAGE, {"Location": "https://blocked.example.com/why?incident=7"})
REFUSALS = {
    "403": Answer(403, PAGE, HTML),
    "401": Answer(401, PAGE, HTML),
    "gateway": GATEWAY,
    "redirect": AWAY,
}


@pytest.mark.parametrize(("refusal", "crm"), one_case_quick(in_turn(REFUSALS, CRMS)))
async def test_single_flips_beside_one_that_is_minded_are_sent_once_and_open_no_breaker(app, url, monkeypatch, crm, refusal):
    async with sandboxes(crm) as there:
        there[crm].standing_faults.append(Fault(firewall(403).matches, answer=REFUSALS[refusal]))
        async with delivering_to(url, monkeypatch, there, crm, waits=PATIENT) as (client, log):
            await app.execute(PEOPLE.format(crm=crm).replace("'Ada'", "'Robert UNION SELECT'"), 1)
            await client.called(1)
            other = f"bool_or({crm}_sync_status = 'Complete' AND email = $1) FROM contacts"
            number = 1
            while not await app.fetchval(f"SELECT bool_or({crm}_sync_status = 'Error') FROM contacts"):
                number += 1
                await flip(app, crm, f"{number}.person@example.com")
                await until(app, other, f"{number}.person@example.com")
        reason = await app.fetchval(f"SELECT {crm}_processing_error FROM contacts WHERE {crm}_sync_status = 'Error'")
        minded_id = await app.fetchval("SELECT id FROM contacts WHERE email = '1.person@example.com'")
    assert reason.startswith("REJECTED: a firewall or something else in front of the CRM refuses this contact")
    assert {"gateway": "Forbidden", "redirect": "302 to blocked.example.com/why"}.get(refusal, f"{refusal}") in reason
    assert "incident" not in reason
    sent = client.sent
    assert sent.pop(minded_id) <= 3
    assert set(sent.values()) == {1}
    assert not [entry for entry in log if entry["event"] in {events.BREAKER_OPENED, events.REQUESTS_REFUSED}]


async def test_single_flips_beside_a_record_of_another_owner_at_mautic_open_no_breaker(app, url, monkeypatch):
    """Mautic denies the item, and an answer with a single item does not tell whether it denies all."""
    async with sandboxes("mautic") as there:
        account = there["mautic"].account
        people = [account.create({"email": f"{number}.person@example.com"}).id for number in range(1, 30)]
        account.denied_ids = {people[0]}
        async with delivering_to(url, monkeypatch, there, "mautic", waits=PATIENT) as (client, log):
            await app.execute(PEOPLE.format(crm="mautic"), 1)
            await client.called(1)
            for number in range(2, len(people) + 1):
                await flip(app, "mautic", f"{number}.person@example.com")
                other = "bool_or(mautic_sync_status = 'Complete' AND email = $1) FROM contacts"
                await until(app, other, f"{number}.person@example.com")
                if await app.fetchval("SELECT bool_or(mautic_sync_status = 'Error') FROM contacts"):
                    break
        reason = await app.fetchval("SELECT mautic_processing_error FROM contacts WHERE mautic_sync_status = 'Error'")
    assert reason.startswith("REJECTED: the user of the API may edit other contacts, but not this one (403 in an answer of 200)")
    assert not [entry for entry in log if entry["event"] in {events.BREAKER_OPENED, events.REQUESTS_REFUSED}]


async def test_a_user_of_mautic_who_may_edit_nobody_marks_nobody(app, url, monkeypatch):
    async with sandboxes("mautic") as there:
        account = there["mautic"].account
        account.denied_ids = {account.create({"email": f"{number}.person@example.com"}).id for number in range(1, 41)}
        await app.execute(PEOPLE.format(crm="mautic"), 40)
        async with delivering_to(url, monkeypatch, there, "mautic", waits=QUICK) as (client, log):
            await said(log, events.BREAKER_OPENED, "the user of the API may not edit contacts")
            await client.called(len(client.requests) + 3)
            await assert_unharmed(app, "mautic")
            account.denied_ids.clear()
            await until(app, complete("mautic"))


async def flip(app, crm: str, email: str) -> None:
    await app.execute(f"INSERT INTO contacts (email, first_name, {crm}_sync_status) VALUES ($1, 'Ada', 'Queued')", email)


@pytest.mark.parametrize("where", ["first_name", pytest.param("email", marks=slow)])
@pytest.mark.parametrize("crm", one_quick(CRMS))
async def test_one_that_is_alone_holds_the_lane_which_says_so_until_another_is_served(app, url, monkeypatch, crm, where):
    await app.execute(PEOPLE.format(crm=crm), 1)
    await minded(app, 1, crm=crm, where=where)
    words = "union select" if where == "first_name" else ".union"
    async with sandboxes(crm) as there:
        there[crm].standing_faults.append(firewall(403, words))
        async with delivering_to(url, monkeypatch, there, crm, waits=QUICK) as (client, log):
            await said(log, events.BREAKER_OPENED, "Seen with one contact only, with no other to compare")
            await client.called(len(client.requests) + 3)
            await assert_unharmed(app, crm)
            # It is used for the probe, and is served.
            await flip(app, crm, "2.person@example.com")
            await until(app, f"bool_or({crm}_sync_status = 'Complete') FROM contacts")
            await until(app, f"bool_or({crm}_sync_status = 'Error') FROM contacts")
    assert (await app.fetchval(f"SELECT {crm}_processing_error FROM contacts WHERE {crm}_sync_status = 'Error'")).startswith(
        "REJECTED: a firewall"
    )
    assert [entry["event"] for entry in log].count(events.BREAKER_OPENED) == 1


# All contacts.

SETTING = {"n8n": "N8N_WEBHOOK_URL"}


@pytest.mark.parametrize(("status", "crm"), one_case_quick([*in_turn([403, 400, 421, 451], CRMS), (407, "mautic")]))
async def test_a_page_that_everybody_gets_marks_nobody_and_the_lane_names_the_setting(app, url, monkeypatch, crm, status):
    await app.execute(PEOPLE.format(crm=crm), 300)
    async with sandboxes(crm) as there:
        there[crm].standing_faults.append(everybody(status))
        async with delivering_to(url, monkeypatch, there, crm, waits=UNHURRIED) as (client, log):
            await said(log, events.BREAKER_OPENED, SETTING.get(crm, f"{crm.upper()}_BASE_URL"))
            before = len(client.requests)
            await client.called(before + 2)
            await assert_unharmed(app, crm)
            there[crm].standing_faults.clear()
            await until(app, complete(crm))
        print(f"{crm}, {status}: the lane is held after {before} requests")
        await assert_delivered(app, crm, there[crm])
    # Each request in flight is halved down to one contact before the lane knows.
    assert before <= client.concurrency * (math.ceil(math.log2(client.batch_limit)) + 2) + ROUNDS
    opened = [entry for entry in log if entry["event"] == events.BREAKER_OPENED]
    assert str(status) in opened[0]["reason"]
    assert ("proxy" in opened[0]["reason"] and "credentials" in opened[0]["reason"]) or status != 407
    assert "alone" not in opened[0]["reason"]


@slow
@pytest.mark.parametrize(("crm", "served"), in_turn(CRMS, [1, 3]))
async def test_a_firewall_that_shuts_out_everybody_in_the_middle_of_much_work_marks_nobody(app, url, monkeypatch, crm, served):
    await app.execute(PEOPLE.format(crm=crm), 600)
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        sandbox.standing_faults.append(Fault(lambda call: sandbox.request_count > served, answer=Answer(403, PAGE, HTML)))
        async with delivering_to(url, monkeypatch, there, crm, waits=QUICK, N8N_BATCH_SIZE="10") as (client, log):
            await said(log, events.BREAKER_OPENED)
            await client.called(len(client.requests) + 10)
            assert await app.fetchval(f"SELECT count(*) FROM contacts WHERE {crm}_processing_error IS NOT NULL") == 0
            sandbox.standing_faults.clear()
            await until(app, complete(crm))
        await assert_delivered(app, crm, sandbox)


@pytest.mark.parametrize(("crm", "served", "refused"), one_case_quick(zip(CRMS, [0, 1, 2, 0], [9, 5, 12, 2], strict=True)))
async def test_a_firewall_that_shuts_out_everybody_for_a_few_requests_marks_nobody(app, url, monkeypatch, crm, served, refused):  # noqa: PLR0917
    await app.execute(PEOPLE.format(crm=crm), 100)
    async with sandboxes(crm) as there:
        sandbox = there[crm]
        shut_out = range(served + 1, served + refused + 1)
        sandbox.standing_faults.append(Fault(lambda call: sandbox.request_count in shut_out, answer=Answer(403, PAGE, HTML)))
        async with delivering_to(url, monkeypatch, there, crm, waits=QUICK, N8N_BATCH_SIZE="10"):
            await until(app, complete(crm))
        await assert_delivered(app, crm, sandbox)
