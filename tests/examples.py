"""How many examples hypothesis tries: few by default, all in CI or with HYPOTHESIS_PROFILE=ci."""

import os

from hypothesis import settings

# In parallel with other tests, a single example may take long, which means nothing.
settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


def examples(ci: int, dev: int) -> int:
    """For a test with its own number."""
    return dev if PROFILE == "dev" else ci
