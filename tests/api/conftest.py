from tests.console.conftest import console_url, visit

__all__ = ["console_url", "visit"]
