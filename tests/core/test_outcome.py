"""How outcomes are passed to a statement."""

from crm_sync.core.outcome import Finish, Kind, Receipt, columns, sparse

DELIVERED = Finish(1, 11, Kind.DELIVERED, None, "7", receipt=Receipt(0, 200))
RETRIED = Finish(2, 12, Kind.RETRY, "CRM_ERROR: it failed", None, 30.0, sent=True)


def test_a_column_in_which_nothing_stands_is_empty():
    assert sparse(columns([DELIVERED, DELIVERED])) == [
        (1, 1), (11, 11), (Kind.DELIVERED, Kind.DELIVERED), [], ("7", "7"), [], (0, 0), (200, 200), [], [],
    ]  # fmt: skip


def test_one_value_is_enough_for_a_column_to_be_whole():
    whole = sparse(columns([DELIVERED, RETRIED]))
    assert whole[3:6] == [(None, "CRM_ERROR: it failed"), ("7", None), (0.0, 30.0)]
    assert whole[6:8] == [(0, -1), (200, None)]
