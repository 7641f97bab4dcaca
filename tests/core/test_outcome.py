"""How outcomes are passed to a statement."""

from crm_sync.core.outcome import Finish, Kind, Receipt, columns, sparse

DELIVERED = Finish(1, 11, Kind.DELIVERED, None, "7", receipt=Receipt(0, 200))
RETRIED = Finish(2, 12, Kind.RETRY, "CRM_ERROR: it failed", None, 30.0, sent=True)


def test_what_all_have_in_common_is_passed_once():
    assert sparse(columns([DELIVERED, DELIVERED._replace(id=2, remote_id="8")])) == [
        (1, 2), [], [], [], ("7", "8"), [], [], [], [], [], 11, Kind.DELIVERED, 0, 200,
    ]  # fmt: skip


def test_a_single_outcome_has_all_in_common_with_itself():
    assert sparse(columns([RETRIED])) == [
        (2,), [], [], ("CRM_ERROR: it failed",), [], (30.0,), [], [], [], [], 12, Kind.RETRY, -1, None,
    ]  # fmt: skip


def test_one_value_is_enough_for_a_column_to_be_whole():
    whole = sparse(columns([DELIVERED, RETRIED]))
    assert whole[1:6] == [
        (11, 12), (Kind.DELIVERED, Kind.RETRY), (None, "CRM_ERROR: it failed"), ("7", None), (0.0, 30.0),
    ]  # fmt: skip
    assert whole[6:8] == [(0, -1), (200, None)]
    assert whole[10:] == [None, None, None, None]
