"""A table that inherits from the contacts table, made after the adoption: Postgres shows its rows among those of the contacts
table, but they have no triggers, and may have the same ctids.
"""

from dataclasses import replace

import pytest

from crm_sync.core.waits import USUAL
from tests.commands.test_check import checked
from tests.faults.promise import LINE_UP, RecordingCrm
from tests.harness import running, until
from tests.process import environment

QUICK = replace(USUAL, tick_s=0.05, strays_again_s=0.05)
HEIR = """
CREATE TABLE vip () INHERITS (contacts);
INSERT INTO vip (email, brevo_sync_status) SELECT n || '@vip.org', 'New' FROM generate_series(1, 30) AS n
"""


@pytest.mark.parametrize("before", [True, False])
async def test_its_rows_are_neither_sent_nor_changed(app, url, before):
    crm = RecordingCrm()
    if before:
        await app.execute(HEIR)
    async with running(url, crm, waits=QUICK):
        if not before:
            await app.execute(HEIR)
        await app.execute(LINE_UP, "a", 30)
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM ONLY contacts")
        await app.execute("UPDATE ONLY contacts SET brevo_sync_status = 'Queued'")
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM ONLY contacts")
    assert {email.partition("@")[2] for email in crm.log} == {"example.com"}
    assert [tuple(row) for row in await app.fetch("SELECT DISTINCT brevo_sync_status::text, brevo_attempts FROM vip")] == [
        ("New", 0)
    ]


async def test_a_row_of_it_with_the_key_of_a_contact_is_not_taken_for_that(app, url):
    await app.execute(LINE_UP, "a", 3)
    await app.execute(
        "CREATE TABLE vip () INHERITS (contacts); INSERT INTO vip SELECT * FROM contacts; UPDATE vip SET email = 'b'"
    )
    crm = RecordingCrm()
    async with running(url, crm, waits=QUICK):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM ONLY contacts")
    assert sorted(crm.log) == ["a1@example.com", "a2@example.com", "a3@example.com"]


async def test_check_tells_of_it(app, url, brevo):
    await app.execute(HEIR)
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    [told] = [line for line in lines if line.startswith("warning contacts table")]
    assert "public.vip inherits from public.contacts" in told
    assert "its rows are no contacts" in told
