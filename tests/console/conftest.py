from contextlib import nullcontext

import pytest

from crm_sync.console.followed import Turns
from tests import roles
from tests.console.running import visiting


@pytest.fixture(scope="session")
def template(with_console):
    """For every test of these, because a console's rights cost more than the rest of its test."""
    return with_console


@pytest.fixture
def console_url(server, url):
    """With exactly the rights that `crm-sync grants --console` prints."""
    return roles.admit(server, url, roles.CONSOLE)


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
