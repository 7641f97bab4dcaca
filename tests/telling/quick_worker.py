"""`crm-sync run` with short waits, and with an injected fault: SIGUSR1 makes a loop of every lane fail once."""

import asyncio
import signal

import uvloop

from crm_sync import log
from crm_sync.configuration import load_for_worker
from crm_sync.core.waits import Waits
from crm_sync.daemon.daemon import Daemon
from crm_sync.daemon.signals import Service
from crm_sync.daemon.systemd import Notifier

QUICK = Waits(
    tick_s=0.5,
    count_s=0.5,
    tell_s=0.5,
    pulse_s=0.2,
    first_mending_look_s=0.2,
    longest_mending_look_s=1.0,
    longest_refused_probe_s=1.0,
    longest_probe_s=1.0,
    longest_reconnect_s=0.5,
    strays_again_s=1.0,
    proof_s=0.2,
)


def fail_once(daemon: Daemon) -> None:
    for lane in daemon._wiring.lanes.values():
        breaker, read = lane._breaker, lane._breaker.read

        async def failing(breaker=breaker, read=read) -> None:
            breaker.read = read
            raise RuntimeError("a fault that the test puts in")

        breaker.read = failing
        lane.hear()


async def main() -> None:
    daemon = Daemon(load_for_worker(), Notifier(), QUICK)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, fail_once, daemon)
    await Service(daemon, lambda current: current, Notifier()).run()


if __name__ == "__main__":
    log.configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
