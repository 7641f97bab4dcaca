"""Whether this process, the schema and the workers have the same version, in sentences for people."""

from collections.abc import Collection, Iterable
from functools import cache

from crm_sync import __version__
from crm_sync.postgres.statements import folder


@cache
def known_migrations() -> frozenset[str]:
    """The migrations that this version includes."""
    files = (folder() / "migrations").glob("*.sql")
    return frozenset(path.stem for path in files if not path.stem.endswith(".rollback"))


def differences(applied: Collection[str], workers: Iterable[str]) -> list[str]:
    """applied: names of migrations; empty if they cannot be read. workers: versions of the living ones."""
    said = []
    missing, unknown = known_migrations() - set(applied), set(applied) - known_migrations()
    if applied and missing:
        said.append(
            f"The database is older than this page: {len(missing)} migration{'' if len(missing) == 1 else 's'} to apply. "
            "Run `crm-sync migrate`."
        )
    if unknown:
        said.append(f"The database is newer than this page, which is {__version__}. Upgrade crm-sync here.")
    others = sorted({version for version in workers if version != __version__})
    if others:
        said.append(f"This page is {__version__}, and workers run {', '.join(others)}. Run one version.")
    return said
