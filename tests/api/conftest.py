from tests.console.conftest import console_url, template, visit

__all__ = ["console_url", "template", "visit"]
