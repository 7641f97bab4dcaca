"""The document describes what the API does: checked by its validator, and by generated calls."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from crm_sync.api.openapi import describe
from crm_sync.api.routes import ROUTES, Scope
from tests.console.running import TOKEN, visiting
from tests.steps import insert
from tests.table.test_failed_contacts import fails
from tests.tiers import slow

NEEDED = "is not installed: pip install -r .requirements/browser.txt"


def test_every_route_is_described_with_its_scope():
    document = describe(ROUTES)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, f"/v1{route.path}") for route in ROUTES}
    for route in ROUTES:
        operation = document["paths"][f"/v1{route.path}"][route.method.lower()]
        assert f"scope {route.scope}" in operation["description"]
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_what_changes_something_needs_more_than_to_read():
    assert {route.scope for route in ROUTES if route.method == "GET"} == {Scope.READ}
    assert {route.path for route in ROUTES if route.method != "GET" and route.scope is Scope.READ} == {"/find"}


def test_what_is_sent_has_an_example_that_is_taken():
    document = describe(ROUTES)
    for route in ROUTES:
        operation = document["paths"][f"/v1{route.path}"][route.method.lower()]
        assert all("example" in one for one in operation["parameters"] if one["in"] == "path")
        if route.body is not None:
            schema = document["components"]["schemas"][route.body.__name__]
            for example in schema["examples"]:
                route.body.model_validate(example)


def test_no_reference_leads_nowhere():
    text = json.dumps(describe(ROUTES))
    document = json.loads(text)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        found = document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


@pytest.mark.slow
def test_a_validator_takes_it():
    validator = pytest.importorskip("openapi_spec_validator", reason=f"openapi-spec-validator {NEEDED}")
    validator.validate(describe(ROUTES))


@slow
@pytest.mark.skipif(not Path(sys.executable).with_name("schemathesis").exists(), reason=f"schemathesis {NEEDED}")
async def test_calls_that_are_made_from_it_are_answered_as_it_says(app, console_url):
    """Whatever is sent: no 500, no undocumented answer, and nothing refused that it allows."""
    for number in range(5):
        await insert(app, "New", f"{number}@example.com")
    await fails(app, email="failed@example.com")
    program = shutil.which(str(Path(sys.executable).with_name("schemathesis")))
    async with visiting(console_url) as visit:
        process = await asyncio.create_subprocess_exec(
            program, "run", f"{visit.where}v1/openapi.json", "--header", f"Authorization: Bearer {TOKEN}",
            "--max-examples", "15", "--seed", "1", "--no-color",
            "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
            "ignored_auth,unsupported_method",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-6000:]
