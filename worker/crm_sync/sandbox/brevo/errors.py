"""The error answers of a fake Brevo account, in Brevo's words."""

from typing import Any


class BrevoError(Exception):
    """An error answer: Brevo's status, code and message."""

    def __init__(self, status: int, code: str, message: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message}
        if metadata is not None:
            self.body["metadata"] = metadata


def invalid(message: str) -> BrevoError:
    return BrevoError(400, "invalid_parameter", message)
