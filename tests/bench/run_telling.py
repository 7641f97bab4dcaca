"""`crm-sync run`, which also reports to the benchmark when its session is open."""

import sys
from collections.abc import Mapping
from typing import Any

from crm_sync import events, log
from crm_sync.cli import crm_sync
from tests.bench.peers.telling import limit_lifetime, tell


def tell_when_open(event: Mapping[str, Any]) -> None:
    if event["event"] == events.SESSION_OPENED:
        tell("ready")


limit_lifetime()
log.tap(tell_when_open)
sys.argv = ["crm-sync", "run"]
crm_sync()
