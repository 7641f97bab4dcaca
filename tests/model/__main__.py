"""`make model`: checks every configuration of the protocol's model with Spin, one line each.

python -m tests.model --small --only "no look"
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import click

from tests.model.configurations import CONFIGURATIONS
from tests.model.spin import ModelError, check, missing_tools

WIDTH = max(len(configuration.name) for configuration in CONFIGURATIONS)


@click.command()
@click.option("--small", is_flag=True, help="Leave out the large ones, which take minutes and up to 14 GB.")
@click.option("--only", default="", help="Those whose name contains this.")
@click.option("--jobs", default=2, show_default=True, help="Small ones at a time; large ones run one after the other.")
def main(*, small: bool, only: str, jobs: int) -> None:
    """Checks the model of the protocol. Returns 1 if a fault is found where there must be none, or none where
    there must be one.
    """
    if (missing := missing_tools()) is not None:
        print(f"The model needs Spin and a C compiler; {missing}")
        sys.exit(1)
    chosen = [one for one in CONFIGURATIONS if only in one.name and not (small and one.large)]
    if not chosen:
        print(f"No configuration has a name with {only!r} in it.")
        sys.exit(1)
    started = time.monotonic()
    wrong = 0
    for large in (False, True):
        group = [one for one in chosen if one.large is large]
        with ThreadPoolExecutor(1 if large else jobs) as threads:
            try:
                for one, result in zip(group, threads.map(check, group), strict=True):
                    right, words = result.verdict(one.fault)
                    wrong += not right
                    print(f"{one.name:{WIDTH}}  {words:45}  {result.states:>11,} states  {result.seconds:6.1f} s", flush=True)
                    if result.trail:
                        print(result.trail)
            except ModelError as error:
                print(f"{error}")
                sys.exit(1)
    print(f"{len(chosen)} configurations, {wrong} not as they should be, {time.monotonic() - started:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
