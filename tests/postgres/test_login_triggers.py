"""An event trigger on login (PostgreSQL 17) that keeps a role out is told as what it is, by both drivers."""

import pytest

from tests.process import ended, environment, process
from tests.roles import WORKER

GATE = """
CREATE FUNCTION public.gate() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN IF session_user = '{role}' THEN {refuse}; END IF; END $$;
CREATE EVENT TRIGGER gate ON login EXECUTE FUNCTION public.gate();
"""
REFUSALS = {
    "RAISE EXCEPTION 'not at this hour, ada@example.com'": "not at this hour, ***",
    "INSERT INTO nowhere VALUES (1)": 'relation "nowhere" does not exist',
    "PERFORM 1 / 0": "division by zero",
}


@pytest.mark.parametrize("refuse", REFUSALS)
@pytest.mark.parametrize(("command", "code"), [("status", 69), ("retry", 1), ("migrate", 1)])
async def test_what_it_said_and_what_to_do_are_told(app, url, command, code, refuse):
    if int(await app.fetchval("SHOW server_version_num")) < 170000:
        pytest.skip("this server has no event triggers on login")
    await app.execute(GATE.format(role=WORKER, refuse=refuse))
    async with process(environment(url), command) as running:
        ended_with, _, err = await ended(running)
    assert ended_with == code
    assert f"an event trigger on login keeps this role out of the database ({REFUSALS[refuse]}" in err
    assert "event_triggers=off" in err
