"""The checker finds what it should find: a promise whose breach cannot be seen is not checked."""

import uuid
from itertools import islice

import pytest

from crm_sync.sandbox import credentials
from crm_sync.sandbox.process import CRMS
from tests.chaos.audit import Claim, End, Line
from tests.chaos.checks import CRASH_S, IN_HAND_S, LATE_S, Evidence, Sums, leaks, violations
from tests.chaos.crms import Send
from tests.chaos.ledger import REMOTE_ID, Change, Ledger, name
from tests.chaos.ledger import Contact as Kept
from tests.chaos.plan import planned
from tests.chaos.steps import Steps

FLIPPED_AT = 1000.0


class World:
    """One contact, flipped once for HubSpot, delivered, and well."""

    def __init__(self):
        self.worker_flips = {}
        self.other_claims = {}
        self.ledger = Ledger()
        self.contact = Kept(1, uuid.UUID(int=1), {"email": "ada@example.com", "first_name": name(1, 1)}, version=0)
        self.commit(columns={"last_name": "Canary", "company": "step 1"}, words={"hubspot": "Queued"}, new_version=True)
        self.row = {"id": self.contact.id, **self.contact.columns}
        for crm in CRMS:
            self.row |= {f"{crm}_sync_status": "New", f"{crm}_claimed_by": None, f"{crm}_due_at": None, REMOTE_ID[crm]: None}
            self.row |= {f"{crm}_processing_status": None, f"{crm}_processing_error": None}
        self.row |= {"hubspot_sync_status": "Complete", "hubspot_processing_status": "Complete", "hubspot_contact_id": "101"}
        self.records = {crm: [] for crm in CRMS} | {"hubspot": [("ada@example.com", name(1, 1))]}
        self.claims = [Claim(1 << 32 | 1, FLIPPED_AT + 1, FLIPPED_AT + 2, End.DELIVERED)]
        self.sends = [self.send(FLIPPED_AT + 1.5)]
        self.crashes = []
        self.lines = [Line(FLIPPED_AT + 2, "delivered", 1)]
        self.last_names = {"hubspot": {"ada@example.com": "Canary"}}

    def commit(self, **change):
        self.ledger.commit("step", [Change(self.contact, **change)])

    def send(self, at, **details):
        return Send(**{"crm": "hubspot", "at": at, "number": 1, "version": 1, "failed": False} | details)

    def broken(self, sums=None):
        rows = {} if self.row is None else {self.row["id"]: self.row}
        claims = {("hubspot", self.contact.id): self.claims, **self.other_claims}
        evidence = Evidence(
            self.ledger.contacts,
            rows,
            self.sends,
            claims,
            self.records,
            self.crashes,
            worker_flips=self.worker_flips,
            lines={("hubspot", self.contact.id): self.lines},
            last_names=self.last_names,
        )
        return [found.promise for found in violations(evidence, sums)]


@pytest.fixture
def world():
    return World()


def test_a_delivered_flip_breaks_nothing(world):
    assert world.broken() == []


def test_a_field_that_was_not_emptied_or_that_somebody_emptied_is_found(world):
    world.last_names["hubspot"]["ada@example.com"] = None
    assert world.broken() == ["I10"]
    world.contact.shares = True
    assert world.broken() == []


def test_a_lost_contact_is_found(world):
    world.records["hubspot"] = []
    assert world.broken() == ["I1"]


def test_a_lost_flip_is_found(world):
    world.row |= {"hubspot_sync_status": "New", "hubspot_processing_status": None}
    assert world.broken() == ["I1"]


def test_an_old_state_in_the_crm_is_found(world):
    world.commit(words={"hubspot": "Queued"}, new_version=True)
    world.row |= world.contact.columns
    assert world.broken() == ["I1"]


def test_a_row_of_the_same_address_may_have_been_last(world):
    twin = Kept(2, uuid.UUID(int=2), {"email": " ADA@example.com"}, version=3, deleted=True)
    world.ledger.contacts[twin.id] = twin
    world.records["hubspot"] = [("ada@example.com", name(2, 1))]
    assert world.broken() == []
    twin.deleted = False
    twin.flipped["hubspot"], twin.words["hubspot"] = 2, "Queued"
    assert [promise for promise in world.broken() if promise == "I1"], "it is older than the twin's last flip"


@pytest.mark.parametrize("left", [{"hubspot_claimed_by": 7}, {"brevo_due_at": "now"}, {"n8n_processing_status": "Processing"}])
def test_what_is_not_settled_is_found(world, left):
    world.row |= left
    assert world.broken() == ["I2"]


def test_a_record_that_is_there_twice_is_found(world):
    world.records["hubspot"].append(("Ada@example.com ", name(1, 1)))
    assert world.broken() == ["I3"]


@pytest.mark.parametrize("change", [{"last_name": "Lovelace"}, {"brevo_sync_status": "Skipped"}])
def test_a_column_of_the_applications_that_changed_is_found(world, change):
    world.row |= change
    assert world.broken() == ["I4"]


def test_a_row_that_is_gone_or_came_back_is_found(world):
    row, world.row = world.row, None
    assert world.broken() == ["I4"]
    world.row = row
    world.commit(deletes=True)
    assert world.broken() == ["I4"]


@pytest.mark.parametrize("end", [End.DELETED, End.UNDELIVERED])
def test_a_send_after_a_withdrawal_or_deletion_is_found(world, end):
    """The claim was long over, or there never was another one."""
    world.claims.append(Claim(1 << 32 | 2, FLIPPED_AT + 3, FLIPPED_AT + 4, end))
    world.sends.append(world.send(FLIPPED_AT + 4 + IN_HAND_S + 1))
    assert world.broken() == ["I5"]


def test_a_send_of_what_was_taken_over_is_found(world):
    world.sends.append(world.send(FLIPPED_AT + 2 + LATE_S + 0.5))
    assert world.broken() == ["I5"]


def test_a_send_before_any_claim_is_found(world):
    world.sends.insert(0, world.send(FLIPPED_AT))
    assert world.broken() == ["I5"]


def test_a_crash_of_the_server_lets_a_send_pass_for_a_while(world):
    world.crashes = [FLIPPED_AT + 10]
    world.sends.append(world.send(FLIPPED_AT + 11))
    sums = Sums()
    assert (world.broken(sums), sums.let_pass) == ([], 1)
    world.sends.append(world.send(FLIPPED_AT + 11 + CRASH_S))
    assert world.broken() == ["I5"]


def test_an_error_without_a_reason_is_found(world):
    world.row |= {"hubspot_sync_status": "Error", "hubspot_processing_status": "Error"}
    assert world.broken() == ["I6"]


def test_an_error_that_is_not_the_contacts_own_fault_is_found(world):
    world.row |= {"hubspot_sync_status": "Error", "hubspot_processing_error": "TIMEOUT: no answer"}
    assert world.broken() == ["I1"]


@pytest.mark.parametrize("said", ["Canary1v2x", "ada.CANARY@example.com", credentials.HUBSPOT_TOKEN])
def test_a_leak_is_found(said):
    [found] = leaks("the log", ["nothing", f'{{"event": "x", "said": "{said}"}}'])
    assert found.promise == "I7"
    assert "line 2" in found.text


def test_a_duplicate_is_found(world):
    world.sends.append(world.send(FLIPPED_AT + 1.6))
    assert world.broken() == ["I8"]


def test_what_a_worker_sends_over_is_none(world):
    world.sends.append(world.send(FLIPPED_AT + 1.6))
    world.worker_flips = {("hubspot", world.contact.id): 1}
    assert world.broken() == []
    world.sends.append(world.send(FLIPPED_AT + 1.7))
    assert world.broken() == ["I8"]


def test_a_duplicate_after_a_failed_answer_or_a_dead_worker_is_none(world):
    world.sends[0] = world.sends[0]._replace(failed=True)
    world.sends.append(world.send(FLIPPED_AT + 1.6))
    world.claims.append(Claim(2 << 32 | 1, FLIPPED_AT + 3, FLIPPED_AT + 4, End.UNDELIVERED))
    world.sends.append(world.send(FLIPPED_AT + 3.5))
    world.lines.append(Line(FLIPPED_AT + 4, "orphaned", 2))
    assert world.broken() == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [Line(FLIPPED_AT + 2, "retry", 1)],
        [Line(FLIPPED_AT + 2, "delivered", 2)],
        [Line(FLIPPED_AT + 2, "delivered", 1)] * 2,
        [Line(FLIPPED_AT + 2, "delivered", 1), Line(FLIPPED_AT + 3, "lost", 2)],
        [Line(FLIPPED_AT + 99, "delivered", 1)],
    ],
    ids=["none", "another outcome", "another worker", "twice", "lost by who never had it", "at another time"],
)
def test_a_line_of_history_that_is_missing_or_never_was_is_found(world, lines):
    world.lines = lines
    assert set(world.broken()) == {"I9"}


def test_a_claim_that_a_crash_of_the_server_took_back_may_be_lost(world):
    world.lines.append(Line(FLIPPED_AT + 3, "lost", 2))
    world.crashes = [FLIPPED_AT + 2.9]
    assert world.broken() == []


def test_a_claim_that_was_not_sent_needs_no_line(world):
    world.claims.insert(0, Claim(1 << 32, FLIPPED_AT, FLIPPED_AT + 0.5, End.UNDELIVERED))
    assert world.broken() == []


def test_what_was_deleted_in_flight_is_told_of_if_its_worker_lived_on(world):
    world.row = None
    world.commit(deletes=True)
    world.claims[0].end = End.DELETED
    world.lines = []
    assert world.broken() == []
    others = {("brevo", world.contact.id): [Claim(1 << 32 | 2, FLIPPED_AT + 3 + IN_HAND_S)]}
    world.other_claims = others
    assert "I9" in world.broken()
    world.lines = [Line(FLIPPED_AT + 3, "lost", 1)]
    assert world.broken() == []
    world.crashes = [FLIPPED_AT + 2.9 - CRASH_S]
    assert world.broken() == []


def test_a_crash_may_undo_the_line_of_what_was_deleted_in_flight(world):
    world.row = None
    world.commit(deletes=True)
    world.claims[0].end = End.DELETED
    world.lines = []
    world.other_claims = {("brevo", world.contact.id): [Claim(1 << 32 | 2, FLIPPED_AT + 3 + IN_HAND_S)]}
    world.crashes = [FLIPPED_AT - 20]
    assert "I9" in world.broken()
    world.crashes = [world.claims[0].ended + 1]
    assert world.broken() == []


def test_the_same_seed_makes_the_same_faults_and_steps():
    assert list(islice(planned(7), 200)) == list(islice(planned(7), 200))
    assert list(islice(planned(7), 200)) != list(islice(planned(8), 200))
    assert taken(7) == taken(7) != taken(8)


def taken(seed):
    steps, ledger, told = Steps(1, seed), Ledger(), []
    for _ in range(500):
        step = steps.next()
        told.append((step.what, step.held_s, [(change.contact.number, change.values, change.deletes) for change in step.changes]))
        ledger.commit(step.what, step.changes)
    return told
