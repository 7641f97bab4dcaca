"""A lane asks for its CRM's fields before it sends the first contact: what can never arrive holds it, and marks no contact."""

import asyncio
from dataclasses import replace

import pytest
import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.core.remote_schema import RemoteField, RemoteSchema, SentField
from crm_sync.core.values import Kind, Shape
from crm_sync.core.waits import USUAL
from crm_sync.errors import HeldBackError, NotSentError, OutageError, RefusedError, StatusRefusedError, ThrottledError
from crm_sync.lane.remote_fields import RemoteFields
from crm_sync.sandbox.server import Answer, Fault, asks_for_fields
from crm_sync.table.mapping import FieldMapping
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.process import environment, process
from tests.steps import insert

FITTING = RemoteSchema("Pipedrive", "field", {"FIRSTNAME": RemoteField("FIRSTNAME", "text")})
LACKING = RemoteSchema("Pipedrive", "field", {"name": RemoteField("name", "text")})
NUMBERS = RemoteSchema("Pipedrive", "field", {"FIRSTNAME": RemoteField("FIRSTNAME", "number", frozenset({Kind.SMALL}))})
QUICK = replace(USUAL, first_probe_s=0.02, longest_probe_s=0.05, longest_refused_probe_s=0.05)
MAPPING = FieldMapping("email", {"FIRSTNAME": "first_name"}, shapes=[SentField("FIRSTNAME", "text", Shape(Kind.TEXT))])


class Schemed(ScriptedCrm):
    """Returns the fields given by the test, and counts the calls."""

    def __init__(self, said):
        super().__init__()
        self.said = said
        self.asked = 0

    async def schema(self):
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def fields(client, waits=USUAL):
    return RemoteFields("brevo", client, MAPPING, waits)


# Alone.


async def test_it_asks_once_for_all_that_is_sent_within_the_hour():
    client = Schemed(FITTING)
    proved = fields(client)
    await asyncio.gather(*[proved.prove() for _ in range(5)])
    await proved.prove()
    assert client.asked == 1


async def test_it_asks_again_after_a_while():
    client = Schemed(FITTING)
    proved = fields(client, replace(USUAL, fields_again_s=0.0))
    for _ in range(3):
        await proved.prove()
    assert client.asked == 3


@pytest.mark.parametrize(("said", "code"), [(LACKING, Code.UNKNOWN_FIELD), (NUMBERS, Code.FIELD_MISFIT)])
async def test_a_misfit_refuses_everybody_with_its_name_and_is_asked_for_again(said, code):
    client = Schemed(said)
    proved = fields(client)
    for _ in range(2):
        with pytest.raises(RefusedError, match=f"{code}: .*FIRSTNAME"):
            await proved.prove()
    assert client.asked == 2
    client.said = FITTING
    await proved.prove()


async def test_those_that_wait_for_one_answer_are_refused_by_it():
    client = Schemed(LACKING)
    proved = fields(client)
    said = await asyncio.gather(*[proved.prove() for _ in range(5)], return_exceptions=True)
    assert [type(one) for one in said] == [RefusedError] * 5
    assert client.asked == 1


@pytest.mark.parametrize(
    "error",
    [
        RefusedError(Code.REFUSED, "no right"),
        StatusRefusedError(Code.NOT_FOUND, "a page"),
        OutageError(Code.CRM_ERROR, "500"),
        ValueError("of a plug-in"),
        {"name": "no RemoteSchema"},
        RemoteSchema("Pipedrive", "field", ["no mapping"]),
    ],
)
async def test_what_cannot_be_asked_holds_nothing_and_is_told_once(error):
    """Nor does an answer of a plug-in that is not a schema."""
    client = Schemed(error)
    proved = fields(client, replace(USUAL, fields_unknown_s=0.0))
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            await proved.prove()
    assert [entry["event"] for entry in logged] == [events.FIELDS_UNKNOWN]
    assert client.asked == 3


@pytest.mark.parametrize(
    "error",
    [ThrottledError(Code.RATE_LIMITED, "429", 1.0), HeldBackError("paused"), NotSentError(Code.UNREACHABLE, "no connection")],
)
async def test_what_is_said_of_every_request_is_handed_on(error):
    with pytest.raises(type(error)):
        await fields(Schemed(error)).prove()


async def test_a_crm_that_names_no_fields_is_not_asked_each_time():
    client = Schemed(None)
    proved = fields(client)
    for _ in range(3):
        await proved.prove()
    assert client.asked == 1


# In a lane.


async def test_the_lane_is_held_before_anything_is_sent_and_goes_on_once_the_field_is_there(app, url):
    client = Schemed(LACKING)
    await insert(app, "Queued")
    async with running(url, client, waits=QUICK):
        await until(app, "breaker_reason LIKE '%UNKNOWN_FIELD%no field FIRSTNAME%' FROM crm_sync.lanes WHERE crm = 'brevo'")
        assert client.requests == []
        assert await app.fetchval("SELECT brevo_processing_error IS NULL AND brevo_attempts <= 1 FROM contacts")
        client.said = FITTING
        await until(app, ALL_COMPLETE)
    assert len(client.requests) == 1


async def test_a_real_worker_and_brevo_nothing_is_dropped_without_a_word(app, url, brevo, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "first_name"\nPLAN = "1"\n')
    await insert(app, "Queued")
    async with process(environment(url, brevo, MAPPING_FILE=str(mapping))):
        await until(app, "breaker_reason LIKE '%Brevo has no attribute PLAN%' FROM crm_sync.lanes WHERE crm = 'brevo'")
        assert not brevo.contacts
        brevo.account.attributes["PLAN"] = "float"
        await until(app, ALL_COMPLETE)
    assert brevo.contacts[1].attributes["PLAN"] == 1


async def test_one_that_keeps_its_fields_to_itself_is_delivered_to(app, url, brevo):
    brevo.standing_faults.append(Fault(matches=asks_for_fields, answer=Answer(403, b"<html>")))
    await insert(app, "Queued")
    async with process(environment(url, brevo)):
        await until(app, ALL_COMPLETE)
    assert len(brevo.contacts) == 1
