"""How the extras of the package are installed."""


def installs(extra: str) -> str:
    """The command, from the package index and from a clone."""
    return f"pip install 'crm-sync-worker[{extra}]', or in a clone pip install '.[{extra}]'"
