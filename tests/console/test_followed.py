"""A contact's page that waits is drawn anew when something has happened; until then it costs next to nothing."""

import heapq
import html
import re
from itertools import pairwise

import pytest

from crm_sync.api.reader import SHARE
from crm_sync.api.references import References
from crm_sync.console.followed import LENT_S, SAVED_S, Turns
from tests.console.costs import statements
from tests.console.running import visiting
from tests.console.test_pages import text_of
from tests.steps import insert
from tests.table.test_failed_contacts import fails

DELIVERED = (
    "UPDATE contacts SET brevo_sync_status = 'Complete', brevo_processing_status = 'Complete', brevo_due_at = NULL, "
    "brevo_contact_id = '4711', brevo_synced_at = now() WHERE id = $1"
)

EVERY_S = 2.0  # a page asks


def asks(page: str) -> str | None:
    """What a page asks for while it waits."""
    found = re.search(r'<div id="contact" hx-get="/([^"]+)" hx-trigger="follow from:body"', page)
    return found and html.unescape(found[1])


async def delivers(app, contact):
    """As a worker's statement does: no trigger sees it."""
    await app.execute("SET session_replication_role = replica")
    await app.execute(DELIVERED, contact)
    await app.execute("RESET session_replication_role")


@pytest.mark.usefixtures("always")
async def test_what_became_of_it_is_told_once_it_has_happened(app, signed_in):
    contact = await insert(app, "Queued")
    _, page = await signed_in.get(f"contacts/{contact}")
    where = asks(page)
    assert where is not None
    assert await signed_in.get(where) == (204, "")
    await delivers(app, contact)
    status, part = await signed_in.get(where)
    assert status == 200
    assert "delivered" in text_of(part)
    assert "<html" not in part
    assert asks(part) is None, "there is nothing more to wait for"
    assert re.search(r'<p id="followed" hx-swap-oob="innerHTML">[^<]*brevo: delivered\.', part), "and a screen reader says it"


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "change",
    [
        "brevo_attempts = 3",
        "brevo_due_at = now() + interval '1 hour'",
        "brevo_synced_at = now()",
        "brevo_flipped_at = now() - interval '1 s'",
    ],
)
async def test_whichever_column_changes_it_is_drawn_again_once(app, signed_in, change):
    contact = await insert(app, "Queued")
    where = asks((await signed_in.get(f"contacts/{contact}"))[1])
    await app.execute("SET session_replication_role = replica")
    await app.execute(f"UPDATE contacts SET {change} WHERE id = $1", contact)
    status, part = await signed_in.get(where)
    assert status == 200
    assert await signed_in.get(asks(part)) == (204, "")


@pytest.mark.usefixtures("always")
async def test_it_goes_on_while_something_is_still_to_come(app, signed_in):
    contact = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET n8n_sync_status = 'Queued' WHERE id = $1", contact)
    where = asks((await signed_in.get(f"contacts/{contact}"))[1])
    await delivers(app, contact)
    following = asks((await signed_in.get(where))[1])
    assert following is not None
    assert "at=n8n" in following
    assert await signed_in.get(following) == (204, "")


async def test_a_contact_that_waits_for_nothing_asks_for_nothing(app, signed_in):
    for contact in (await insert(app, "New"), await fails(app, email="b@example.com", error="REJECTED: no")):
        _, page = await signed_in.get(f"contacts/{contact}")
        assert asks(page) is None
        assert f'href="/contacts/{contact}">Refresh</a>' in page


async def test_an_address_that_is_shown_is_not_drawn_over(app, signed_in):
    contact = await insert(app, "Queued", "lovelace@example.com")
    _, page = await signed_in.done(f"reveal/{contact}")
    assert ("lovelace@example.com" in page, asks(page)) == (True, None)


@pytest.mark.usefixtures("always")
async def test_a_contact_that_is_deleted_meanwhile_has_the_page_loaded_again(app, signed_in):
    contact = await insert(app, "Queued")
    where = asks((await signed_in.get(f"contacts/{contact}"))[1])
    await app.execute("DELETE FROM contacts WHERE id = $1", contact)
    async with signed_in.http.get(signed_in.where + where) as response:
        assert (response.status, response.headers["HX-Refresh"]) == (204, "true")


@pytest.mark.usefixtures("always")
async def test_a_reference_of_another_start_has_the_page_loaded_again(app, signed_in):
    there = "parts/contacts/" + References(b"another").sealed("ada@example.com") + "?at=brevo&seen=x"
    async with signed_in.http.get(signed_in.where + there) as response:
        assert (response.status, response.headers["HX-Refresh"]) == (204, "true")


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "damage",
    ["ALTER TABLE contacts DISABLE TRIGGER crm_sync_brevo_update", "CREATE RULE none AS ON UPDATE TO contacts DO NOTHING"],
)
async def test_at_a_lane_that_cannot_deliver_nothing_has_happened_either(app, url, damage):
    contact = await insert(app, "Queued")
    await app.execute(damage)
    async with visiting(url) as visit:
        await visit.sign_in()
        where = asks((await visit.get(f"contacts/{contact}"))[1])
        assert where is not None
        assert await visit.get(where) == (204, "")


@pytest.mark.usefixtures("always")
async def test_a_crm_that_is_named_many_times_is_read_once(app, signed_in):
    contact = await insert(app, "Queued")
    where = asks((await signed_in.get(f"contacts/{contact}"))[1])
    async with statements() as run:
        assert await signed_in.get(where.replace("at=brevo", "at=" + "brevo,nothing," * 500)) == (204, "")
    assert [one.name for one in run] == ["read_key", "show_contacts"]


@pytest.mark.usefixtures("always")
async def test_where_nothing_has_happened_a_few_columns_are_read_by_the_key(app, signed_in):
    contact = await insert(app, "Queued")
    where = asks((await signed_in.get(f"contacts/{contact}"))[1])
    async with statements() as run:
        await signed_in.get(where)
    assert [one.name for one in run] == ["read_key", "show_contacts"]


async def test_under_the_path_of_a_proxy_it_asks_below_that_path(app, url):
    contact = await insert(app, "Queued")
    async with visiting(url, console_base_path="/crm-sync") as visit:
        await visit.sign_in()
        assert f'hx-get="/crm-sync/parts/contacts/{contact}?' in (await visit.get(f"contacts/{contact}"))[1]


@pytest.mark.parametrize(
    "query", ["", "?at=&seen=", "?at=nothing,brevo&seen=x", "?at=,,,&seen=%F0%9F%99%82", f"?at={'brevo,' * 500}"]
)
@pytest.mark.usefixtures("always")
async def test_whatever_it_is_asked_with_it_answers(app, signed_in, query):
    contact = await insert(app, "New")
    assert (await signed_in.get(f"parts/contacts/{contact}{query}"))[0] in (200, 204)


class Pages:
    """Pages that ask for half an hour, as often as in a browser. took: by page, seconds of the database for one answer."""

    def __init__(self, took):
        self.took = took
        self.now, self.busy = 0.0, 0.0
        self.answered = {page: [0.0] for page in took}
        turns = Turns(clock=lambda: self.now)
        asks = [(EVERY_S * number / len(took), page) for number, page in enumerate(took)]
        while (moment := asks[0][0]) < 1800.0:
            page = asks[0][1]
            heapq.heapreplace(asks, (moment + EVERY_S, page))
            self.now = max(self.now, moment)
            with turns.turn(page) as is_its:
                if is_its:
                    self.now += took[page]
                    self.busy += took[page]
                    self.answered[page].append(self.now)

    def longest_wait(self, page):
        return max(later - earlier for earlier, later in pairwise([*self.answered[page], self.now]))


@pytest.mark.parametrize("many", [1, 10, 40])
def test_however_many_ask_the_database_is_busy_for_a_hundredth_of_the_time(many):
    pages = Pages(dict.fromkeys(map(str, range(many)), 0.03))
    assert 0 < pages.busy <= SHARE * pages.now + SAVED_S + 0.03
    fewest, most = (choose(len(moments) for moments in pages.answered.values()) for choose in (min, max))
    assert most <= fewest * 1.5 + 2, "all alike"


@pytest.mark.parametrize("slow_s", [0.3, 2.0, 8.0])
def test_a_slow_page_waits_itself_and_others_for_some_seconds_at_most(slow_s):
    quick = [f"quick {number}" for number in range(6)]
    pages = Pages({"slow": slow_s, **dict.fromkeys(quick, 0.002)})
    assert max(map(pages.longest_wait, quick)) <= slow_s + LENT_S / SHARE + 2 * EVERY_S
    assert pages.busy <= SHARE * pages.now + SAVED_S + slow_s
    assert len(pages.answered["slow"]) > 1


def test_a_page_that_is_drawn_again_is_followed_at_the_next_look():
    now = [0.0]
    turns = Turns(clock=lambda: now[0])
    for took in (0.002, 0.05, 0.002, 0.05):  # in line, in flight, and there
        now[0] += EVERY_S
        with turns.turn("page") as is_its:
            assert is_its
            now[0] += took


def test_one_page_is_answered_at_a_time():
    turns = Turns()
    with turns.turn("first"), turns.turn("second") as meanwhile:
        assert not meanwhile
    with turns.turn("second") as afterwards:
        assert afterwards


def test_a_question_that_fails_is_counted_too():
    now = [0.0]
    turns = Turns(clock=lambda: now[0])

    def fail() -> None:
        with turns.turn("page"):
            now[0] += 1.0
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        fail()
    with turns.turn("page") as at_once:
        assert not at_once
    now[0] += 101.0
    with turns.turn("page") as later:
        assert later
