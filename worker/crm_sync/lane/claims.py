"""The claims of a lane: contacts come into its hands, and their deliveries start. A claim whose answer was lost is remembered."""

import asyncio
import time
from collections.abc import Callable

from crm_sync.errors import UnreadableError
from crm_sync.lane.channel import Channel
from crm_sync.lane.delivery import Deliveries
from crm_sync.lane.dispatch import Dispatch
from crm_sync.lane.in_hand import InHand
from crm_sync.table.contacts import Contacts
from crm_sync.table.unreadable_rows import Claimed

ANSWER_LOST_S = 15.0  # after our timeout, a claim may still be running in the server for this long


class Claims:
    """on_claimed: called when there are contacts to be sent."""

    def __init__(
        self,
        channel: Channel,
        contacts: Contacts,
        in_hand: InHand,
        deliveries: Deliveries,
        dispatch: Dispatch,
        *,
        on_claimed: Callable[[], None],
    ) -> None:
        self._session = channel.session
        self._breaker = channel.breaker
        self._addresses = channel.addresses
        self._contacts = contacts
        self._in_hand = in_hand
        self._deliveries = deliveries
        self._dispatch = dispatch
        self._on_claimed = on_claimed
        self._turn = asyncio.Lock()  # to claim: what is claimed is in hand before anything else looks
        self._unread = False
        self._unsure_s = channel.waits.statement_timeout_s + ANSWER_LOST_S
        self._unsure_until = 0.0

    @property
    def unsure(self) -> bool:
        """Whether contacts may be claimed without being in hand."""
        return self._unread or time.monotonic() < self._unsure_until

    def doubt(self) -> None:
        """A contact may be claimed without being in hand: it shows within this time."""
        self._unsure_until = time.monotonic() + self._unsure_s

    def take_unread(self) -> bool:
        """Whether the answer to a claim could not be read, since this was last asked: contacts are claimed, but we do not know
        which.
        """
        unread, self._unread = self._unread, False
        return unread

    async def settled(self) -> None:
        """Returns when what is just being claimed is in hand."""
        async with self._turn:
            pass

    async def claim(self, limit: int, *, rung: bool) -> int:
        """Claims contacts and starts their deliveries. Returns how many. rung: as for `Contacts.claim`."""
        async with self._turn:
            if self._deliveries.stopping:
                return 0
            await self._addresses.catch_up()
            token = self._session.next_token()
            probe = self._breaker.probing
            if probe:
                self._breaker.probe_with(token)
            with self._in_hand.claiming(token):
                try:
                    if probe:
                        claimed = await self._claim_probe(token)
                    else:
                        claimed = await self._contacts.claim(limit, token, rung=rung)
                except UnreadableError:
                    self._unread = True
                    raise
                except BaseException:
                    self.doubt()
                    raise
                unsent = [*(contact for contact, _ in claimed.unreadable), *claimed.returned]
                self._in_hand.take([*claimed.contacts, *unsent])
                self._in_hand.weigh(token, claimed.size)
            if claimed.contacts:
                self._on_claimed()
            if not self._dispatch.start(claimed) and probe:
                await self._breaker.give_back()
        return len(claimed.contacts) + len(unsent)

    async def _claim_probe(self, token: int) -> Claimed:
        """If possible, a contact other than those for which the lane is held: one of them may be the cause."""
        accused = self._deliveries.accused
        claimed = await self._contacts.claim(1, token, probe=True, without=accused)
        if accused and not claimed.contacts and not claimed.unreadable:
            claimed = await self._contacts.claim(1, token, probe=True)
        return claimed
