"""How many concurrent requests a CRM without a published limit gets: as many as it answers without queueing.

The method is the congestion avoidance of TCP Vegas (Brakmo, O'Malley, Peterson: "TCP Vegas: New Techniques for Congestion
Detection and Avoidance", SIGCOMM 1994), applied to requests as in Netflix's concurrency-limits (`VegasLimit`). An answer takes
`alone` seconds when nothing else is in flight and `took` seconds when L requests are. By Little's law the server then works on
L x alone / took of them; the others wait:

    queue = L x (1 - alone / took)      queue < allowed: grow      queue > 2 x allowed: shrink to what it works on, and `allowed`

Why not another algorithm: AIMD learns nothing before the first timeout, and by then a small server is overwhelmed. Gradient2
compares with a long-term average of answers that it has itself delayed, so a lasting queue becomes normal. Vegas has the same
trap once its minimum is renewed under load: the limit creeps up forever (issue 165 of concurrency-limits). So `alone` is measured
as in BBR (ProbeRTT) and Envoy's adaptive concurrency: now and then the limit is 1 for a few answers. Only such a probe can raise
`alone`; any round may lower it. Probes begin at multiples of the interval: workers that share a clock probe at the same time, not
under each other's load.

Answer times vary randomly, so whole rounds are judged, without their slowest quarter. Times are compared only within a size class
(1, 2 to 3, 4 to 7, ... contacts), so a change from single contacts to batches does not look like a slower server.
"""

from dataclasses import dataclass, field
from math import ceil, inf

START = 2
ROUND = 16  # answers in a round, or as many as the limit if that is more
PROBE = 8  # answers that measure the time alone
PROBE_EVERY_S = 60.0  # doubled while probes would take more than PROBE_SHARE of the time, up to
PROBE_AT_LEAST_EVERY_S = 3600.0
PROBE_SHARE = 1 / 32
CHANGED = 2 / 3  # of the time alone, under load: the server is no longer the one that was measured
SHORTEST_S = 1e-6  # lower bound for an answer time, because of the clock's resolution


@dataclass(slots=True)
class AdaptiveConcurrency:
    """The limit of one worker at one server. All times are in seconds by one clock, ideally shared by all workers."""

    most: int  # at least 1
    sustained: int = START  # the limit outside probes
    probing: bool = False
    probe_due: float = -inf
    alone_s: dict[int, float] = field(default_factory=dict)  # by size class
    answers: list[tuple[int, float]] = field(default_factory=list)  # in this round: size class, seconds
    used: int = 0  # the most in flight in this round
    round_began: float = -inf
    halved_at: float = -inf

    def __post_init__(self) -> None:
        self.sustained = min(self.sustained, self.most)

    @property
    def limit(self) -> int:
        """Requests that may be in flight now, 1 to `most`. When it falls, requests above it finish; no new ones start."""
        return 1 if self.probing else self.sustained

    def answered(self, contacts: int, took_s: float, in_flight: int, now: float) -> None:
        """A request with this many contacts was answered at `now`, `took_s` after it was sent. Do not call it for refusals: they
        are fast.

        in_flight: requests in flight when the answer came, including this one.
        """
        if now >= self.probe_due:
            self.probing, self.probe_due = True, inf
            self._begin_round(now)
        if now - took_s < self.round_began:
            return  # sent under an earlier limit, and so no measure of this one
        self.answers.append((contacts.bit_length(), max(took_s, SHORTEST_S)))
        self.used = max(self.used, in_flight)
        if len(self.answers) >= (PROBE if self.limit == 1 else max(ROUND, self.limit)):
            self._judge(now)

    def failed(self, took_s: float, now: float) -> None:
        """A request sent `took_s` before `now` ended in a timeout, a 5xx or a dropped connection: the limit is halved.

        Requests that were in flight together halve it once: those sent before the last halving do not count.
        """
        if now - took_s >= self.halved_at:
            self.sustained = max(1, self.sustained // 2)
            self.halved_at = now
            self._begin_round(now)

    def _judge(self, now: float) -> None:
        if self.limit == 1:
            self._learn(now)
        slowdowns = [took_s / self.alone_s[size] for size, took_s in self.answers if size in self.alone_s]
        if len(slowdowns) < len(self.answers) / 2:
            self.probe_due = -inf  # most are of a size class that was never measured alone
        elif not self.probing:
            self._adjust(_typical(slowdowns))
        self.probing = False
        self._begin_round(now)

    def _learn(self, now: float) -> None:
        for size in {size for size, _ in self.answers}:
            self.alone_s[size] = _typical([took_s for other, took_s in self.answers if other == size])
        probe_s = sum(took_s for _, took_s in self.answers)
        every_s = PROBE_EVERY_S
        while every_s < min(probe_s / PROBE_SHARE, PROBE_AT_LEAST_EVERY_S):
            every_s *= 2
        self.probe_due = (now // every_s + 1) * every_s

    def _adjust(self, slowdown: float) -> None:
        """slowdown: by what factor the answers of this round took longer than alone."""
        if slowdown < 1:
            # A slightly faster round may be luck, so the fastest round ever is no yardstick: the gain is weighted by its size.
            for size in {size for size, _ in self.answers} & self.alone_s.keys():
                self.alone_s[size] *= slowdown * (2 - slowdown)
        if slowdown < CHANGED:
            self.probe_due = -inf
            return
        in_use = min(self.used, self.sustained)
        at_work = in_use / max(1.0, slowdown)
        allowed = 1 + self.sustained / 8  # keeps the server busy until our next request arrives
        if in_use - at_work > 2 * allowed:
            self.sustained = max(self.sustained // 2, int(at_work + allowed))
        elif in_use - at_work < allowed and in_use == self.sustained:  # a limit that was not reached was not tested
            self.sustained = min(int(self.sustained + allowed), self.most)

    def _begin_round(self, now: float) -> None:
        self.answers.clear()
        self.used = 0
        self.round_began = now


def _typical(values: list[float]) -> float:
    """The mean without the slowest quarter; for two or three values, without the slowest."""
    count = len(values)
    kept = sorted(values)[: max(1, min(count - 1, ceil(count * 3 / 4)))]
    return sum(kept) / len(kept)
