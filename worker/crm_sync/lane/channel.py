"""What every request of a lane goes through: upserts, deletions, and contacts that a person has named."""

from dataclasses import dataclass

from crm_sync.core.consent import Together
from crm_sync.core.retry import RetryPolicy
from crm_sync.core.tally import Tally
from crm_sync.core.waits import Waits
from crm_sync.crm.client import Client
from crm_sync.lane.address_locks import AddressLocks
from crm_sync.lane.proof import Proof
from crm_sync.limits.breaker import LaneBreaker
from crm_sync.limits.concurrency_limit import ConcurrencyLimit
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.measurements import Operation
from crm_sync.postgres.session import Session


@dataclass(frozen=True, slots=True)
class Channel:
    """The client of one CRM, and everything that may hold back a request: the session, the breaker, the two limits, an address.

    tally: counts what is done. account: whether it is the one that ids are from. fields: whether an upsert fits the CRM's fields.
    together: as in FieldMapping.
    """

    crm: str
    client: Client
    session: Session
    breaker: LaneBreaker
    rate_limit: RateLimit
    permits: ConcurrencyLimit
    addresses: AddressLocks
    policy: RetryPolicy
    waits: Waits
    tally: Tally
    account: Proof | None = None
    fields: Proof | None = None
    operation: Operation = Operation.UPSERT
    together: Together | None = None
