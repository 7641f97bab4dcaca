"""What the Python peers' workers report to the benchmark on standard output: `word nanoseconds`, one per line."""

import signal
import sys
import time

# A worker whose benchmark was killed ends by itself.
LIFETIME_S = 600


def limit_lifetime() -> None:
    signal.alarm(LIFETIME_S)


def tell(word: str) -> None:
    sys.stdout.write(f"{word} {time.perf_counter_ns()}\n")
    sys.stdout.flush()


class Counter:
    """The drain's no-op handler calls it once per job; it reports the first and the last."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.handled = 0

    def handle(self) -> None:
        self.handled += 1
        if self.handled == 1:
            tell("first")
        if self.handled == self.jobs:
            tell("last")
