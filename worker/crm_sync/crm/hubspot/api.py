"""The batch requests of HubSpot's contacts, of which an answer is returned if it speaks about single contacts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from crm_sync.core.outcome import Contact
from crm_sync.crm.answer import Answer
from crm_sync.crm.http import Http
from crm_sync.crm.hubspot.batch import Input, Result, is_batch, results, trace
from crm_sync.crm.hubspot.refusals import batch_refused, is_missing, judged


class ContactsApi:
    """path: of the contacts, in which the versions of HubSpot's API differ."""

    def __init__(self, http: Http, path: str) -> None:
        self._http = http
        self._path = path

    async def write(
        self, operation: str, inputs: Sequence[Input], contacts: Sequence[Contact], mapped: Collection[str], **each: str
    ) -> Answer:
        """each: what every input says in addition to its own. contacts: whose inputs they are. mapped: the properties in the
        mapping. Raises LaneError.
        """
        body = {
            "inputs": [
                {"id": item.key, **each, "properties": item.properties, "objectWriteTraceId": trace(place)}
                for place, item in enumerate(inputs)
            ]
        }
        answer = await self.send(f"batch/{operation}", body, contacts)
        if not is_batch(answer) and not (operation == "update" and is_missing(answer)):
            raise batch_refused(answer, body, mapped)
        if is_batch(answer):
            answer.confirm()
        return answer

    async def records(self, keys: Iterable[str], names: Sequence[str], **each: str) -> list[Result]:
        """Those that are there. each: what the request says besides the keys. Raises LaneError."""
        inputs = [{"id": key} for key in dict.fromkeys(keys)]
        if not inputs:
            return []
        body = {**each, "inputs": inputs, "properties": names, "propertiesWithHistory": []}
        answer = await self.send("batch/read", body, ())
        if not is_batch(answer) and not is_missing(answer):
            raise batch_refused(answer, body)
        answer.confirm()
        return results(answer)

    async def send(self, operation: str, body: Mapping[str, Any], contacts: Collection[Contact] | None = None) -> Answer:
        """contacts: whose values the body has; None: those of the whole delivery. Raises as judged does."""
        return judged(await self._http.send("POST", f"{self._path}/{operation}", body, writes=contacts), body)
