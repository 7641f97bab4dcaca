from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from crm_sync import log
from tests.daemon.systemd import Systemd
from tests.telling.receiver import Receiver, receiving


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path)
    yield listening
    listening.close()


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[dict[str, object]]]:
    """The lines that would be written, with the taps before them, as in a worker's log."""
    before = structlog.get_config()["processors"]
    captured = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, log.hand_to_taps, captured])
    yield captured.entries
    structlog.configure(processors=before)


@pytest.fixture
def logged(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    return lines


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def webhook(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The receiver gets alerts."""
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"{receiver.url}/hook")
    return receiver
