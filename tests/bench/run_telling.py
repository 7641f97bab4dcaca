"""`crm-sync run`, telling the benchmark when its session is open."""

import sys

import structlog

from tests.bench.peers.telling import limit_lifetime, tell
from worker import events, log
from worker.cli import crm_sync

configure = log.configure


def configure_and_tell() -> None:
    configure()

    def tell_when_open(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        if event["event"] == events.SESSION_OPENED:
            tell("ready")
        return event

    structlog.configure(processors=[tell_when_open, *structlog.get_config()["processors"]])


limit_lifetime()
log.configure = configure_and_tell
sys.argv = ["crm-sync", "run"]
crm_sync()
