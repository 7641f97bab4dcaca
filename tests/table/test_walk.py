"""A random walk over the protocol: whatever an application and workers do, in any order, the promise holds.

Statements are real, on a real database; the model only knows the promise:

- what was flipped is delivered, with a value at least as new as the flip;
- one contact is never in two claims at a time;
- what was withdrawn or deleted is not claimed after that;
- what a dead worker had in flight comes back, and its own finish, should it come late, changes nothing;
- after a delivery the CRM has the phone number of the row, and none where that has none, unless it is one that sales put there.

Hypothesis repeats a walk to make it shorter, and each step has to do what it did before. So nothing depends on time, on where
Postgres stores a row, or on an earlier walk: a walk has its own lane, which never looks because seconds have passed, and contacts
of one step come in the order of their creation.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from crm_sync.core.outcome import Contact, Finish, Kind
from crm_sync.core.waits import Waits
from crm_sync.table.clearing import read_clearing
from crm_sync.table.contacts import Contacts
from tests.examples import examples
from tests.table.walking import on_ground, walk

WORDS = ("New", "Selected", "Skipped")
EXAMPLES, STEPS = examples(ci=120, dev=8), 60
NEVER_S = 1e6
TIMELESS = Waits(full_look_s=NEVER_S, fresh_look_s=NEVER_S, slow_mapping_s=NEVER_S, claim_patience_s=60.0)
# As many workers as can die on one walk, because dead ones claim nothing.
REGISTER = (
    "INSERT INTO crm_sync.workers (id, host, pid, version) SELECT n, 'walk', 1, '0' FROM generate_series(1, $1::integer) AS n"
)
ENDS = (Kind.DELIVERED, Kind.RETRY, Kind.REJECTED, Kind.DEFERRED)
OWN = ("sync_status", "processing_status", "processing_error", "attempts", "due_at", "synced_at", "flipped_at")


@dataclass
class Row:
    """What the promise says about one contact. values: those it has had since its last flip, the latest last."""

    values: list[str]
    word: str  # the application's last one: Queued, or one of WORDS
    settled: bool = False  # delivered or rejected since its last flip
    held_by: Contact | None = None  # the claim that has it in flight
    flipped_in_flight: bool = False
    emptied: bool = False  # its latest claim was delivered without a phone number: a number there is not ours


@dataclass
class World:
    """The database under the walk."""

    runner: asyncio.Runner
    app: asyncpg.Connection
    lane: Callable[[], Contacts]
    crm: dict[Any, str] = field(default_factory=dict)
    phones: dict[Any, str] = field(default_factory=dict)
    of_sales: set[Any] = field(default_factory=set)  # whose phone number was not sent by crm-sync

    def land(self, contact: Contact) -> None:
        """A request takes effect."""
        self.crm[contact.id] = contact.fields["FIRSTNAME"]
        if "SMS" in contact.filled:
            self.of_sales.discard(contact.id)
            self.phones[contact.id] = contact.fields["SMS"]
        elif "SMS" in contact.emptied:
            assert contact.id not in self.of_sales, "crm-sync never put it there"
            self.phones.pop(contact.id, None)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)


class Walk(RuleBasedStateMachine):
    world: World
    rows_in_table = Bundle("rows_in_table")
    claims = Bundle("claims")
    late = Bundle("late")  # claims of workers that were taken for dead

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[Any, Row] = {}
        self.worker = 1
        self.token = 0
        self.others = 0  # ids that the application has written
        self.world.crm.clear()
        self.world.phones.clear()
        self.world.of_sales.clear()
        self.contacts = self.world.lane()
        self.do("TRUNCATE contacts")

    def made(self, ids: Iterable[Any]) -> list[Any]:
        """In the order of their creation."""
        wanted = set(ids)
        return [contact for contact in self.rows if contact in wanted]

    def do(self, statement: str, *arguments: Any) -> Any:
        return self.world.run(self.world.app.fetchval(statement, *arguments))

    # The application.

    @initialize(target=rows_in_table)
    def queued_to_begin_with(self) -> Any:
        return multiple(*(self.insert(letter, "Queued") for letter in "abb"))

    @rule(target=rows_in_table, value=st.text("ab", min_size=1, max_size=3), word=st.sampled_from(("Queued", *WORDS)))
    def add(self, value: str, word: str) -> Any:
        return self.insert(value, word)

    def insert(self, value: str, word: str) -> Any:
        contact = self.do(
            "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ('a@example.com', $1, $2) RETURNING id",
            value,
            word,
        )
        self.rows[contact] = Row([value], word)
        if value == "a":
            self.world.of_sales.add(contact)
            self.world.phones[contact] = "of sales"
        return contact

    @rule(contact=rows_in_table)
    def flip(self, contact: Any) -> None:
        self.do("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = $1", contact)
        self._flipped(contact)

    @rule(contact=rows_in_table, value=st.text("ab", min_size=1, max_size=3))
    def edit_and_flip(self, contact: Any, value: str) -> None:
        phone = None if value.endswith("a") else value
        change = "first_name = $2, phone = $3, brevo_sync_status = 'Queued'"
        self.do(f"UPDATE contacts SET {change} WHERE id = $1", contact, value, phone)
        if contact in self.rows:
            self.rows[contact].values.append(value)
        self._flipped(contact)

    @rule(contact=rows_in_table, value=st.text("ab", min_size=1, max_size=3))
    def edit(self, contact: Any, value: str) -> None:
        self.do("UPDATE contacts SET first_name = $2 WHERE id = $1", contact, value)
        if contact in self.rows:
            self.rows[contact].values.append(value)

    @rule(contact=rows_in_table, word=st.sampled_from(WORDS))
    def withdraw(self, contact: Any, word: str) -> None:
        self.do("UPDATE contacts SET brevo_sync_status = $2 WHERE id = $1", contact, word)
        if contact in self.rows:
            row = self.rows[contact]
            row.word, row.flipped_in_flight = word, False

    @rule(contact=rows_in_table)
    def save_a_stale_row(self, contact: Any) -> None:
        """An ORM writes back what it read before the claim: the worker's columns as well, but not the claim."""
        row = self.rows.get(contact)
        if row is None or row.held_by is None:
            return
        self.do(
            "UPDATE contacts SET brevo_processing_status = 'Error', brevo_processing_error = 'stale', brevo_attempts = 9, "
            "brevo_due_at = NULL, brevo_synced_at = NULL, brevo_flipped_at = NULL, brevo_contact_id = 'stale' WHERE id = $1",
            contact,
        )

    @rule(contact=rows_in_table)
    def write_another_id(self, contact: Any) -> None:
        """What crm-sync has put into the former record is not in this one."""
        row = self.rows.get(contact)
        if row is None or row.held_by is not None:
            return
        self.others += 1
        self.do("UPDATE contacts SET brevo_contact_id = $2 WHERE id = $1", contact, f"other {self.others}")
        if contact in self.world.phones:
            self.world.of_sales.add(contact)

    @rule(contact=consumes(rows_in_table))
    def delete(self, contact: Any) -> None:
        self.do("DELETE FROM contacts WHERE id = $1", contact)
        self.rows.pop(contact, None)

    @rule(contact=rows_in_table, word=st.sampled_from(("Queued", "Skipped")))
    def roll_back(self, contact: Any, word: str) -> None:
        async def undone() -> None:
            transaction = self.world.app.transaction()
            await transaction.start()
            await self.world.app.execute("UPDATE contacts SET brevo_sync_status = $2 WHERE id = $1", contact, word)
            await transaction.rollback()

        self.world.run(undone())

    @rule()
    def sales_puts_phone_numbers_there(self) -> None:
        for contact, row in self.rows.items():
            if row.emptied and contact not in self.world.phones:
                self.world.phones[contact] = "of sales"
                self.world.of_sales.add(contact)

    def _flipped(self, contact: Any) -> None:
        if contact in self.rows:
            row = self.rows[contact]
            row.word, row.settled = "Queued", False
            row.values = row.values[-1:]
            row.flipped_in_flight = row.held_by is not None

    # Workers.

    @rule(target=claims, limit=st.integers(1, 3))
    def claim(self, limit: int) -> Any:
        return multiple(*self._claim(limit))

    def _claim(self, limit: int) -> list[Contact]:
        self.token += 1
        claimed = self.world.run(self.contacts.claim(limit, (self.worker << 32) | self.token)).contacts
        by_id = {contact.id: contact for contact in claimed}
        assert by_id.keys() <= self.rows.keys(), "it was deleted"
        claimed = [by_id[contact] for contact in self.made(by_id)]
        for contact in claimed:
            row = self.rows[contact.id]
            assert row.held_by is None, "in two claims at a time"
            assert row.word == "Queued", "withdrawn, and claimed after that"
            assert not row.settled, "nobody flipped it again"
            row.held_by, row.emptied = contact, False
        return claimed

    @rule(contact=consumes(claims), kind=st.sampled_from(ENDS))
    def finish(self, contact: Contact, kind: Kind) -> None:
        self._finish(contact, kind)

    @rule(contact=rows_in_table, values=st.lists(st.sampled_from("ab"), min_size=1, max_size=3), kind=st.sampled_from(ENDS))
    def serve(self, contact: Any, values: list[str], kind: Kind) -> None:
        """Sent one by one, a contact is hardly ever sent several times in a walk, and emptying depends on
        what was sent before.
        """
        for value in values:
            self.edit_and_flip(contact, value)
            for claimed in self._claim(100):
                self._finish(claimed, kind)

    def _finish(self, contact: Contact, kind: Kind) -> None:
        sent = contact.fields["FIRSTNAME"]
        row = self.rows.get(contact.id)
        # A contact to be tried again was written here, but that is not known.
        if kind in (Kind.DELIVERED, Kind.RETRY) and row is not None and row.held_by is contact:
            self.world.land(contact)
        if kind is Kind.DELIVERED and row is not None and row.held_by is contact and contact.id not in self.world.of_sales:
            assert self.world.phones.get(contact.id) == contact.fields["SMS"], "not emptied"
        error = "CODE: reason" if kind in (Kind.RETRY, Kind.REJECTED) else None
        ending = contact.sent.unknown() if kind is Kind.RETRY else contact.sent.unsent()
        if kind is Kind.DELIVERED:
            ending = contact.sent.delivered(record="7")
        record = "7" if kind is Kind.DELIVERED else None
        done = self.finished(Finish(contact.id, contact.token, kind, error, record, sent_fields=ending))
        holds = row is not None and row.held_by is contact
        assert done == holds, "only who has the claim ends it, and who has it does"
        if row is not None and holds:
            row.held_by = None
            if kind in (Kind.DELIVERED, Kind.REJECTED) and not row.flipped_in_flight:
                row.settled = True
                assert sent in row.values or row.word != "Queued", "older than the flip"
            row.emptied = kind is Kind.DELIVERED and not row.flipped_in_flight and contact.fields["SMS"] is None
            row.flipped_in_flight = False

    def finished(self, finish: Finish) -> bool:
        return bool(self.world.run(self.contacts.finish([finish])).written)

    @rule()
    def sweep(self) -> None:
        """Lines without a contact are removed now and then. The others stay."""
        self.world.run(self.contacts.line.sweep())

    @rule(target=late, landed=st.booleans())
    def die(self, *, landed: bool) -> Any:
        """The worker dies with everything it has in flight, another takes over, and the first may still finish. landed: its
        requests.
        """
        dead, self.worker = self.worker, self.worker + 1
        for row in self.rows.values():
            if row.held_by is not None and landed:
                self.world.land(row.held_by)
            elif row.held_by is not None and "SMS" in row.held_by.filled:
                self.world.of_sales.discard(row.held_by.id)  # for all that is known
        self._recover(dead)
        late = [row.held_by for row in self.rows.values() if row.held_by is not None]
        for row in self.rows.values():
            row.held_by, row.flipped_in_flight = None, False
        return multiple(*late)

    def _recover(self, worker: int) -> None:
        orphans = {contact: token for contact, token, _ in self.world.run(self.contacts.orphans([worker]))}
        assert orphans.keys() == {i for i, row in self.rows.items() if row.held_by is not None}
        # One by one: together they would be put in line in the order in which a plan finds them.
        for contact in self.made(orphans):
            assert self.finished(Finish(contact, orphans[contact], Kind.ORPHANED))

    @rule(contact=consumes(late), kind=st.sampled_from(ENDS))
    def speak_late(self, contact: Contact, kind: Kind) -> None:
        assert not self.finished(Finish(contact.id, contact.token, kind, None, "late"))

    @rule(contact=consumes(claims))
    def finish_twice(self, contact: Contact) -> None:
        """The answer to a finish was lost."""
        self._finish(contact, Kind.DELIVERED)
        assert not self.finished(Finish(contact.id, contact.token, Kind.DELIVERED))

    # The promise.

    @invariant()
    def the_table_says_what_is_in_flight_and_what_is_in_line(self) -> None:
        columns = "id, brevo_sync_status AS sync, brevo_claimed_by AS claim, brevo_due_at AS due_at"
        table = {row["id"]: row for row in self.world.run(self.world.app.fetch(f"SELECT {columns} FROM contacts"))}
        assert table.keys() == self.rows.keys()
        line = {tuple(row) for row in self.world.run(self.world.app.fetch("SELECT key, due_at FROM crm_sync.brevo_line"))}
        in_line = {(contact, found["due_at"]) for contact, found in table.items() if found["due_at"] is not None}
        assert in_line <= line, "in line or in flight, and nobody would find them"
        for contact, row in self.rows.items():
            found = table[contact]
            if row.held_by is not None:
                assert found["claim"] == row.held_by.token
                assert found["due_at"] is not None, "an orphan that nobody would find"
            else:
                assert found["claim"] is None
                in_line = found["sync"] == "Queued" and found["due_at"] is not None
                assert in_line == (row.word == "Queued" and not row.settled)

    def teardown(self) -> None:
        """From here on all is well: what is in flight dies, everything in line is delivered."""
        self.die(landed=False)
        for _ in range(2 * len(self.rows) + 1):
            claimed = self._claim(100)
            if not claimed:
                break
            for contact in claimed:
                self._finish(contact, Kind.DELIVERED)
        states = {row["id"]: row for row in self.world.run(self.world.app.fetch("SELECT * FROM contacts"))}
        for contact, row in self.rows.items():
            status = states[contact]["brevo_sync_status"]
            if row.word != "Queued":
                assert status == row.word, "the person's word stays"
            elif row.settled:
                assert status in ("Complete", "Error")
                assert states[contact]["brevo_claimed_by"] is None
                if status == "Complete":
                    assert self.world.crm[contact] in row.values
            else:
                raise AssertionError(f"flipped, and left behind: {status}")


def test_the_promise_holds_on_a_random_walk(url: str) -> None:
    with on_ground(url) as ground:
        runner, database, app = ground.runner, ground.database, ground.app
        runner.run(app.execute(REGISTER, STEPS + 1))
        runner.run(app.execute("SELECT crm_sync.set_clearing('brevo', true)"))
        clearing = runner.run(read_clearing(database, "brevo", ["SMS"], numbering=True))
        fields = {"FIRSTNAME": "first_name", "SMS": "phone"}
        Walk.world = World(runner, app, lambda: Contacts(database, ground.table, "email", fields, TIMELESS, clearing=clearing))
        walk(Walk, examples=EXAMPLES, steps=STEPS)
