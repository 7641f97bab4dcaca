"""A worker whose CRM is scripted by the test, next to an application with an ORM."""

from collections.abc import AsyncIterator

import pytest

from tests.harness import ScriptedCrm, running


@pytest.fixture
async def crm(url: str) -> AsyncIterator[ScriptedCrm]:
    """The CRM that a running worker delivers to."""
    crm = ScriptedCrm()
    async with running(url, crm):
        try:
            yield crm
        finally:
            crm.gate.set()  # the worker drains, so what is in flight must end
