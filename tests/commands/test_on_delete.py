"""`crm-sync on-delete`, as the owner of the table runs it."""

import asyncio
import time

import pytest

from crm_sync.core.waits import Waits
from tests.commands.test_pause import done, run
from tests.process import ended, environment, process
from tests.tiers import alone, slow

WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'contacts'::regclass AND mode = 'ShareRowExclusiveLock' AND NOT granted"
POLICY = "SELECT on_delete FROM crm_sync.lanes WHERE crm = 'brevo'"


async def test_it_sets_the_policy_and_says_what_it_means(app, url):
    assert "The record of a contact that is deleted from now on is deleted in brevo too." in done(
        url, "on-delete", "brevo", "delete"
    )
    assert await app.fetchval(POLICY) == "delete"
    assert "for good. As before." in done(url, "on-delete", "BREVO", "erase") + done(url, "on-delete", "brevo", "erase")
    assert "stays in brevo" in done(url, "on-delete", "brevo", "keep")
    assert await app.fetchval(POLICY) == "keep"


async def test_without_a_policy_it_says_what_is_set_and_changes_nothing(app, url):
    assert done(url, "on-delete", "brevo") == "brevo: keep\n"
    done(url, "on-delete", "brevo", "erase")
    assert done(url, "on-delete", "brevo") == "brevo: erase\n"


async def test_it_tells_of_deletions_that_the_crm_is_still_to_hear_of(app, url):
    done(url, "on-delete", "brevo", "delete")
    await app.execute("INSERT INTO contacts (email, brevo_contact_id) VALUES ('a', '1'), ('b', '2')")
    await app.execute("DELETE FROM contacts")
    assert "brevo has not been told yet of 2 contacts that were deleted before" in done(url, "on-delete", "brevo", "keep")


async def test_it_says_that_a_rule_lets_nothing_be_deleted(app, url):
    await app.execute(
        'CREATE RULE "Soft" AS ON DELETE TO contacts DO INSTEAD UPDATE contacts SET first_name = NULL WHERE id = OLD.id'
    )
    said = " ".join(done(url, "on-delete", "brevo", "delete").split())
    assert 'But because of the rule "Soft", a DELETE deletes no row, so no record is deleted in brevo either' in said
    await app.execute('DROP RULE "Soft" ON contacts; CREATE RULE also AS ON DELETE TO contacts DO ALSO NOTIFY gone')
    assert "But" not in done(url, "on-delete", "brevo", "delete")


@pytest.mark.parametrize(("arguments", "words"), [(("nope", "delete"), "these are: hubspot"), (("brevo", "shred"), "'shred'")])
def test_what_is_not_known_is_named_with_what_is(url, arguments, words):
    answer = run(url, "on-delete", *arguments)
    assert answer.exit_code == 2
    assert words in answer.output


async def test_a_worker_may_not_set_it(url):
    async with process(environment(url), "on-delete", "brevo", "delete") as running:
        code, _, err = await ended(running)
    assert code == 78
    assert "only the owner of the contacts table" in err


@alone
@slow
async def test_it_waits_for_a_writer_but_no_other_writer_waits_for_it(app, other_app, url):
    """A long transaction has the table. Other writers wait for the command no longer than its lock timeout."""
    await app.execute("INSERT INTO contacts (email) VALUES ('ada@example.com'), ('bob@example.com')")
    transaction = app.transaction()
    await transaction.start()
    await app.execute("UPDATE contacts SET first_name = 'Ada' WHERE email = 'ada@example.com'")
    setting = asyncio.create_task(asyncio.to_thread(done, url, "on-delete", "brevo", "delete"))
    longest_s, tries = 0.0, 0
    while tries < 3:
        tries += await other_app.fetchval(WAITING)
        started = time.perf_counter()
        await other_app.execute("UPDATE contacts SET first_name = 'Bob' WHERE email = 'bob@example.com'")
        longest_s = max(longest_s, time.perf_counter() - started)
    await transaction.commit()
    assert "deleted in brevo too" in await setting
    assert longest_s < 0.2
    assert await app.fetchval(POLICY) == "delete"


async def test_it_gives_up_with_what_to_do_where_the_table_is_never_free(app, url):
    async with app.transaction():
        await app.execute("LOCK TABLE contacts IN ROW EXCLUSIVE MODE")
        answer = await asyncio.to_thread(run, url, "on-delete", "brevo", "delete", waits=Waits(table_patience_s=0.0))
    assert "nothing was changed" in str(answer.exception)
    assert await app.fetchval(POLICY) == "keep"
