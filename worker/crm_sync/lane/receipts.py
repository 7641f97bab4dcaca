"""What is known of the requests that contacts were in, from the answer until their finishes are made."""

from collections.abc import Sequence

from crm_sync.core.outcome import Contact, Outcome, Receipt, Verdict
from crm_sync.crm.client import Entry
from crm_sync.crm.trail import Trail
from crm_sync.lane.doubt import may_be_stored, may_be_stored_in_spite_of


class Receipts:
    """leaves_trail: as in Client."""

    def __init__(self, *, leaves_trail: bool) -> None:
        self._leaves_trail = leaves_trail
        self._receipts: dict[object, Receipt] = {}  # by id, for contacts that were in a request and are not settled yet
        self._stored: dict[object, bool] = {}  # by id, for those that were not delivered: whether the CRM may have the values

    def answered(self, contacts: Sequence[Contact], entries: Sequence[Entry], trail: Trail, took_s: float) -> None:
        """They were in requests, and these are the answers."""
        receipt = Receipt(round(took_s * 1000), trail.status, trail.request_id)
        for contact, entry in zip(contacts, entries, strict=True):
            if not isinstance(entry, Outcome) or entry.verdict is not Verdict.DELIVERED:
                self._doubt(contact, stored=may_be_stored(contact, entry, self._left(trail)))
            elif self._stored:
                self._stored.pop(contact.id, None)
            before = self._receipts.get(contact.id)
            self._receipts[contact.id] = receipt if before is None else receipt._replace(took_ms=receipt.took_ms + before.took_ms)

    def interrupted(self, contacts: Sequence[Contact], error: BaseException, trail: Trail) -> None:
        """The error ended their delivery, and says nothing about them."""
        for contact in contacts:
            self._doubt(contact, stored=may_be_stored_in_spite_of(error, contact, self._left(trail)))

    def hand_out(self, contacts: Sequence[Contact], *, unsaid: bool) -> list[tuple[Receipt | None, bool]]:
        """The receipts of the requests that each contact was in, and whether a contact that was not delivered may be stored in
        the CRM. They are handed out once. unsaid: the outcomes are lost, so any contact that was in a request may be stored.
        """
        receipts = [self._receipts.pop(contact.id, None) for contact in contacts]
        if not self._stored and not unsaid:
            return [(receipt, False) for receipt in receipts]
        return [
            (receipt, self._stored.pop(contact.id, unsaid and receipt is not None))
            for contact, receipt in zip(contacts, receipts, strict=True)
        ]

    def _left(self, trail: Trail) -> Trail | None:
        """The trail; None if the client may have made requests that leave none."""
        return trail if trail.requests or trail.is_whole or self._leaves_trail else None

    def _doubt(self, contact: Contact, *, stored: bool) -> None:
        self._stored[contact.id] = stored or self._stored.get(contact.id, False)
