"""How many examples hypothesis tries: few by default, all where CI or HYPOTHESIS_PROFILE=ci is set."""

import os

from hypothesis import settings

# Next to other tests a single example may take long, and says nothing.
settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


def examples(ci: int, dev: int) -> int:
    """For a test with a number of its own."""
    return dev if PROFILE == "dev" else ci
