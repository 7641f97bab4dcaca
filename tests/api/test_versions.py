"""Different versions are reported."""

from crm_sync import __version__
from crm_sync.api.versions import differences, known_migrations
from tests.console.running import visiting

KNOWN = sorted(known_migrations())


def test_one_version_is_no_news():
    assert differences(KNOWN, [__version__, __version__]) == []


def test_an_older_schema_a_newer_one_and_other_workers_are_named():
    assert "1 migration to apply" in differences(KNOWN[:-1], [])[0]
    assert "is newer than this page" in differences([*KNOWN, "9999.later"], [])[0]
    assert "workers run 0.0.1" in differences(KNOWN, ["0.0.1", __version__])[0]


async def test_the_page_says_so(app, console_url):
    await app.execute("UPDATE crm_sync._crm_sync_migration SET migration_id = '9999.later' WHERE migration_id = $1", KNOWN[-1])
    async with visiting(console_url) as visit:
        await visit.sign_in()
        _, page = await visit.get("")
    assert "The database is newer than this page" in page
    assert "1 migration to apply" in page
