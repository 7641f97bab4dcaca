"""Measures the peers alone and prints medians: `python -m tests.bench.peers`."""

import click
import uvloop

from crm_sync.sandbox.postgres import Postgres, running_postgres
from tests.bench.figures import Figures, medians, p50, p99, show
from tests.bench.peers.process import WorkerError
from tests.bench.peers.roster import PEERS, Peer
from tests.bench.sink import running_sink

DRAIN = "drain, jobs/s"
LATENCY_P50 = "latency p50, ms"
LATENCY_P99 = "latency p99, ms"
COLUMNS = (DRAIN, LATENCY_P50, LATENCY_P99)


async def measure(peer: Peer, server: Postgres, jobs: int, samples: int) -> Figures:
    """One repeat, each measurement in a separate database."""
    try:
        rate = await peer.drain(server.create_database("drain"), jobs)
        async with running_sink() as sink:
            latencies = await peer.latency(server.create_database("latency"), sink, samples)
    finally:
        server.drop_database("drain")
        server.drop_database("latency")
    return {DRAIN: rate, LATENCY_P50: p50(latencies), LATENCY_P99: p99(latencies)}


@click.command()
@click.option("--repeats", default=3, show_default=True, help="Times each peer is measured; medians are shown.")
@click.option("--jobs", default=20_000, show_default=True, help="Jobs in the queue that is emptied.")
@click.option("--samples", default=200, show_default=True, help="Single jobs that are timed.")
@click.option("--only", default="", help="Measure the peers whose name contains this.")
def main(repeats: int, jobs: int, samples: int, only: str) -> None:
    """Other Postgres queues on an embedded server with fsync on."""
    peers = [peer for peer in PEERS if only in peer.name]
    absent = {peer.name: reason for peer in peers if (reason := peer.unavailable())}
    measured: dict[str, list[Figures]] = {peer.name: [] for peer in peers if peer.name not in absent}
    with running_postgres() as server:
        # The repeats of a peer are spread out: a noisy minute of the machine hits one repeat of each peer, not all repeats of
        # one.
        for _ in range(repeats):
            for peer in peers:
                if peer.name in absent:
                    continue
                try:
                    measured[peer.name].append(uvloop.run(measure(peer, server, jobs, samples)))
                except (WorkerError, TimeoutError) as error:
                    absent[peer.name] = f"failed: {error}"
    rows = {
        peer.name if peer.name in absent else f"{peer.name} {peer.version()}": (
            absent.get(peer.name) or medians(measured[peer.name])
        )
        for peer in peers
    }
    show(f"Postgres queues, medians of {repeats}", COLUMNS, rows)


if __name__ == "__main__":
    main()
