"""The kit: a client that keeps the contract passes."""

from tests.testing.ledger import LedgerContract


class TestLedger(LedgerContract):
    """Each check, on a correct client."""
