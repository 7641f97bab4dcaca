from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.systemd import Systemd


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path)
    yield listening
    listening.close()
