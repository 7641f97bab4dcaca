from tests.console.conftest import console_url

__all__ = ["console_url"]
