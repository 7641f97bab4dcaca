"""`crm-sync run`, telling the benchmark when its session is open."""

import sys

import structlog

from crm_sync import events, log
from crm_sync.cli import crm_sync
from tests.bench.peers.telling import limit_lifetime, tell

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
