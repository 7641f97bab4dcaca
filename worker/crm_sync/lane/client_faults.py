"""Exceptions of a client that are not a LaneError: a bug in a plug-in or in crm-sync, triggered by the contacts it was given."""

from collections.abc import Sequence

from crm_sync.core.codes import Code
from crm_sync.crm.client import Entry
from crm_sync.errors import BatchRefusedError
from crm_sync.log import FaultLog


class ClientFaults:
    """Reports each place where a client fails once, with the traceback, however many contacts fail there."""

    def __init__(self, crm: str) -> None:
        self._log = FaultLog(crm)

    def refusal(self, error: Exception) -> BatchRefusedError:
        """One of the contacts may be the cause, so the batch is halved. The failure may be transient, so the last one left is
        retried.
        """
        self._log.tell(error)
        words = f"the client of this CRM failed ({type(error).__name__}): see the log for its traceback"
        return BatchRefusedError(Code.CLIENT_FAILED, words, retried=True)


def checked(answers: Sequence[Entry], count: int) -> Sequence[Entry]:
    """The client's answers for this many contacts. Raises TypeError if there is not one for each."""
    if len(answers) != count or not all(issubclass(kind, Entry) for kind in {*map(type, answers)}):
        raise TypeError("the client did not return an outcome for each contact")
    return answers
