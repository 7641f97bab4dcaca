"""An adoption by an older version: only the migrations before a given one."""

from unittest import mock

from yoyo.migrations import MigrationList

from crm_sync.adoption import migrations
from crm_sync.adoption.table import AdoptionRequest
from crm_sync.postgres import statements
from tests.roles import adopt

LINE = "0007.line"
# Before 0011.table-changes, flips of the application's triggers were not caught.
BEFORE_CHANGES = {
    "note_name": "SELECT",
    "find_unseen_flips": "SELECT '{}'::text[] AS triggers, TRUE AS are_seen, FALSE AS may_catch",
}
read = statements.read


def adopt_before(url: str, name: str, request: AdoptionRequest | None = None) -> None:
    """name: the first migration that the older version does not have."""
    everything = migrations._migrations()
    before = [migration for migration in everything if migration.id < name]
    with (
        mock.patch.object(migrations, "_migrations", return_value=MigrationList(before, everything.post_apply)),
        mock.patch.object(statements, "read", lambda query: BEFORE_CHANGES.get(query) or read(query)),
        mock.patch.object(statements, "_parts", statements._parts.__wrapped__),  # without those that are kept of this version
    ):
        adopt(url, request)
