"""The peers to measure, each behind the same two functions."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from tests.bench.peers import peer_graphile, peer_pgqueuer, peer_procrastinate


@dataclass(frozen=True)
class Peer:
    """`drain(database_url, jobs=20_000)` returns jobs per second, `latency(database_url, sink, samples=200)` milliseconds. Each
    needs a new and empty database, and installs there what the peer needs."""

    name: str
    # Known once it is installed.
    version: Callable[[], str]
    drain: Callable[..., Awaitable[float]]
    latency: Callable[..., Awaitable[list[float]]]
    # Why it cannot be measured on this machine, or None. May take seconds, as it installs what is missing.
    unavailable: Callable[[], str | None] = lambda: None


PEERS = (
    Peer(peer_pgqueuer.NAME, partial(version, "pgqueuer"), peer_pgqueuer.drain, peer_pgqueuer.latency),
    Peer(peer_procrastinate.NAME, partial(version, "procrastinate"), peer_procrastinate.drain, peer_procrastinate.latency),
    Peer(peer_graphile.NAME, peer_graphile.version, peer_graphile.drain, peer_graphile.latency, peer_graphile.unavailable),
    Peer(
        f"{peer_graphile.NAME}, batched",
        peer_graphile.version,
        partial(peer_graphile.drain, batched=True),
        partial(peer_graphile.latency, batched=True),
        peer_graphile.unavailable,
    ),
)
