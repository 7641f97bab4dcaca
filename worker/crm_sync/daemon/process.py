"""The process: one worker after another, as signals ask for, and its end for sure."""

import gc
from collections.abc import Callable
from contextlib import closing

from crm_sync.configuration import Configuration
from crm_sync.daemon.daemon import Daemon
from crm_sync.daemon.last_resort import LastResort
from crm_sync.daemon.metrics import Metrics
from crm_sync.daemon.signals import Service
from crm_sync.daemon.systemd import Notifier

BEFORE_SYSTEMD_S = 0.5  # it has been promised the end by then, and would kill silently
AT_ONCE_S = 1.0  # for what a worker that is told twice still closes, if its event loop is free
COLLECT_EVERY = 50_000  # more objects created than freed


async def serve(configuration: Configuration, read_again: Callable[[], Configuration] | None = None) -> None:
    """Runs a worker until SIGTERM or SIGINT; a second signal ends it at once. On SIGHUP, it switches to what read_again reads."""
    # Contacts come and go by the hundred thousand and form no cycles: with its defaults, the collector took a fifth of the time.
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 10)
    again = read_again or (lambda: configuration)
    with closing(Notifier.from_environment()) as notifier:
        first = Daemon(configuration, notifier, metrics=(metrics := Metrics()))
        last_resort = LastResort()

        def follow(current: Daemon) -> Daemon:
            return Daemon(again(), notifier, former=current, metrics=metrics)

        def be_sure_of_the_end(current: Daemon, now: bool) -> None:
            last_resort.arm(AT_ONCE_S if now else current.end_s - BEFORE_SYSTEMD_S, lambda: current.in_flight)

        await Service(first, follow, notifier, be_sure_of_the_end).run()
