from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.faults.promise import RecordingCrm


@pytest.fixture
def crm() -> RecordingCrm:
    return RecordingCrm()


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries
