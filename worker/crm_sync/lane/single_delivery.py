"""One contact that a person named: claimed by its key, out of turn, then sent and written by its lane.

It waits for the account's limits before it is claimed, so that it is held only as long as its requests take.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from crm_sync.core.durations import span
from crm_sync.core.identity import addressees
from crm_sync.core.outcome import Contact, Finish
from crm_sync.core.retry import deferred
from crm_sync.errors import DatabaseTroubleError, DeclinedError
from crm_sync.lane.channel import Channel
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.dispatch import sorted_out
from crm_sync.lane.finisher import Finisher
from crm_sync.lane.in_hand import InHand
from crm_sync.table.named_claim import NamedClaim
from crm_sync.table.shared_records import SharedRecords


class SingleDelivery:
    """permit_free: set whenever this worker gets another permit."""

    def __init__(
        self,
        channel: Channel,
        deliveries: Deliveries,
        shared: SharedRecords,
        in_hand: InHand,
        finisher: Finisher,
        *,
        permit_free: asyncio.Event,
    ) -> None:
        self._channel = channel
        self._deliveries = deliveries
        self._shared = shared
        self._in_hand = in_hand
        self._finisher = finisher
        self._permit_free = permit_free
        self.unsure = False  # a claim was lost or interrupted: it may still be running in the server

    async def run(self, named: NamedClaim, meant: Any, twins: Sequence[Any], *, flip: bool) -> Finish | None:
        """See `Lane.deliver_one`."""
        await self._channel.breaker.read()
        if not self._channel.breaker.open:
            return None
        await self._turn()
        finishes = await self._claim_and_deliver(named, [meant, *twins], flip=flip)
        return next((finish for finish in finishes if finish.id == meant), None)

    async def _turn(self) -> None:
        """Returns when a request may start. Raises DeclinedError if that is not soon, and as Database.fetch does."""
        patience_s = self._channel.waits.turn_patience_s
        waits_for = "other workers have as many requests in flight as are allowed"
        try:
            async with asyncio.timeout(patience_s):
                await self._permit()
                waits_for = "the account's limit is used up"
                while True:
                    requests, wait_s = await self._channel.rate_limit.ahead(1)
                    if requests:
                        return
                    waits_for = f"the account's limit is used up for {span(wait_s)}"
                    if wait_s > patience_s:
                        break
                    await asyncio.sleep(wait_s)
        except TimeoutError:
            pass
        raise DeclinedError(f"{waits_for}. Nothing was changed: try again later, or flip it, and a worker sends it in its turn")

    async def _permit(self) -> None:
        permits, session = self._channel.permits, self._channel.session
        await permits.share(await session.count_alive())
        while not permits.limit:
            self._permit_free.clear()
            await self._permit_free.wait()

    async def _claim_and_deliver(self, named: NamedClaim, ids: Sequence[Any], *, flip: bool) -> list[Finish]:
        token = self._channel.session.next_token()
        with self._in_hand.claiming(token):
            self.unsure = True
            claimed = await named.claim(ids, token, flip=flip)
            self.unsure = False
            self._in_hand.take(claimed)
        finishes: list[Finish] = []
        open_ = {contact.id: contact for contact in claimed}
        try:
            await self._deliver(named, open_, token, finishes)
        finally:
            # Also when interrupted: contacts without a verdict go back in line at once.
            settled = {finish.id for finish in finishes}
            finishes += [deferred(contact) for contact in open_.values() if contact.id not in settled]
            await self._write(finishes)
        return finishes

    async def _deliver(self, named: NamedClaim, claimed: dict[Any, Contact], token: int, finishes: list[Finish]) -> None:
        """claimed: by key; put in its place is what was read of each. finishes: to which those that come of it are added."""
        if not claimed:
            return
        read = await named.read([*claimed.values()], token)
        claimed.update((contact.id, contact) for contact in (*read.contacts, *read.returned))
        contacts, rejected = sorted_out(self._channel, read)
        finishes += rejected
        if self._channel.client.keeps_records:
            contacts = await self._shared.apart(contacts)
        # They have one address, unless the mapping gives them different ones.
        for person in addressees(contacts, self._channel.together, self._channel.client):
            try:
                finishes += await self._deliveries.deliver([person])
            except BaseException:
                finishes += self._deliveries.unsaid([person])
                raise

    async def _write(self, finishes: Sequence[Finish]) -> None:
        if not finishes:
            return
        patience_s = self._channel.waits.finish_patience_s
        self._finisher.put(finishes)
        try:
            async with asyncio.timeout(patience_s):
                await self._finisher.drained()
        except TimeoutError:
            raise DatabaseTroubleError(
                f"the outcome could not be written within {patience_s:.0f} s: the database is away, or a transaction "
                "of the application has the row locked. A worker puts the contact back in line"
            ) from None
