"""Exceptions of a client that are not a LaneError: a bug in a plug-in or in crm-sync, triggered by the contacts it was given."""

import traceback
from collections.abc import Sequence

import structlog

from crm_sync import events
from crm_sync.core.codes import Code
from crm_sync.crm.client import Entry
from crm_sync.errors import BatchRefusedError

MOST = 1000  # places in the code that are remembered


class ClientFaults:
    """Reports each place where a client fails once, with the traceback, however many contacts fail there."""

    def __init__(self, crm: str) -> None:
        self._log = structlog.get_logger().bind(crm=crm)
        self._told: set[tuple[str, str, int]] = set()

    def refusal(self, error: Exception) -> BatchRefusedError:
        """One of the contacts may be the cause, so the batch is halved. The failure may be transient, so the last one left is
        retried.
        """
        self._tell(error)
        words = f"the client of this CRM failed ({type(error).__name__}): see the log for its traceback"
        return BatchRefusedError(Code.CLIENT_FAILED, words, retried=True)

    def _tell(self, error: Exception) -> None:
        """Without the text of the error, which can quote a contact."""
        frames = traceback.extract_tb(error.__traceback__)
        place = (frames[-1].filename, frames[-1].lineno or 0) if frames else ("", 0)
        kind = (type(error).__name__, *place)
        if kind not in self._told:
            if len(self._told) >= MOST:
                self._told.clear()
            self._told.add(kind)
            lines = [*traceback.format_list(frames), type(error).__name__]
            self._log.error(events.CLIENT_FAILED, exception="".join(lines))


def checked(answers: Sequence[Entry], count: int) -> Sequence[Entry]:
    """The client's answers for this many contacts. Raises TypeError if there is not one for each."""
    if len(answers) != count or not all(issubclass(kind, Entry) for kind in {*map(type, answers)}):
        raise TypeError("the client did not return an outcome for each contact")
    return answers
