"""What the HTTP servers, of metrics and of the console, write to the log: never what somebody sent, nor the text of an error.

Both can have an address or a token in them.
"""

import logging
import traceback

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from aiohttp.web_protocol import RequestPayloadError


class WithoutTexts(logging.Filter):
    """An error is logged with its type and where it was raised. What is no HTTP is not logged: anyone can connect and send it, as
    often as he likes, and the answer says what is wrong with it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | RequestPayloadError):
            return False
        if error is not None:
            frames = traceback.format_tb(error.__traceback__)
            record.exc_info, record.exc_text = None, "".join([*frames, type(error).__name__])
        return True


WITHOUT_TEXTS = WithoutTexts()


def quote_nothing() -> None:
    """From now on, in this process."""
    server_logger.addFilter(WITHOUT_TEXTS)
