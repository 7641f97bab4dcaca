import os
from contextlib import nullcontext

import pytest

from crm_sync.console.followed import Turns
from tests.commands.test_grants import role
from tests.console.running import visiting

CONSOLE = f"crm_sync_console_{os.getpid()}"


@pytest.fixture
def console_url(url):
    """With exactly the rights that `crm-sync grants --console` prints."""
    with role(url, CONSOLE, "--console") as its_url:
        yield its_url


@pytest.fixture
async def visit(console_url):
    """By a visitor who is not signed in."""
    async with visiting(console_url) as visit:
        yield visit


@pytest.fixture
async def signed_in(visit):
    assert await visit.sign_in() == 303
    return visit


@pytest.fixture
def always(monkeypatch):
    """Whoever asks whether something has happened is answered: else it depends on how quick this machine is."""
    monkeypatch.setattr(Turns, "turn", lambda *_: nullcontext(True))
