"""A command whose DDL meets an event trigger of the database, which fails because it needs a search_path: it is named."""

import asyncio

import pytest

from tests.process import ended, environment, process
from tests.roles import migrate

LOGS = """
CREATE TABLE ddl_log (at timestamptz);
CREATE FUNCTION note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ddl_log VALUES (now()); END $$;
CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION note_ddl()
"""


@pytest.mark.parametrize("command", [("adopt",), ("watch", "brevo", "--columns", "first_name")], ids=["adopt", "watch"])
async def test_the_function_that_failed_is_named(owner, empty_url, brevo, command):
    await owner.execute("CREATE TABLE contacts (id int PRIMARY KEY, email text, first_name text)")
    if command[0] == "watch":
        await asyncio.to_thread(migrate, empty_url)
    await owner.execute(LOGS)
    async with process(environment(empty_url, brevo, owner=True), *command) as asked:
        code, _, err = await ended(asked)
    assert code == 78
    assert 'relation "ddl_log" does not exist' in err
    assert "in public.note_ddl(), a function of this database" in err
    assert "crm-sync migrate" not in err
