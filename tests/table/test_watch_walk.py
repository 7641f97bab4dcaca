"""A random walk over a watched table: applications edit, flip, withdraw, and save whole rows that they read at any time.

The promise: when everything is done, a Complete contact has the same values in the CRM as in the table, and none is left in line
or in flight.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from crm_sync.core.outcome import Contact, Finish, Kind
from crm_sync.postgres.statements import query
from crm_sync.table.contacts import Contacts
from tests.examples import examples
from tests.table.walking import on_ground, walk

EXAMPLES, STEPS = examples(ci=150, dev=10), 40
VALUES = st.text("ab", min_size=1, max_size=2)
WORDS = ("Selected", "Skipped")
ENDS = (Kind.DELIVERED, Kind.RETRY, Kind.REJECTED, Kind.DEFERRED, Kind.ORPHANED)
MODELS = (
    "*",
    "id, first_name, last_name, brevo_sync_status",
    "id, first_name, brevo_sync_status, brevo_processing_status, brevo_processing_error, brevo_contact_id",
)


@dataclass
class World:
    """The database under the walk."""

    runner: asyncio.Runner
    app: asyncpg.Connection
    contacts: Contacts
    crm: dict[Any, str] = field(default_factory=dict)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)


class Walk(RuleBasedStateMachine):
    world: World
    table = Bundle("table")
    memory = Bundle("memory")  # rows as the application has read them
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.token = 1 << 32
        self.in_flight: set[Any] = set()
        # Complete was written over New, Skipped or Error, and that counts as the application's status.
        self.said_complete: set[Any] = set()
        self.world.crm.clear()
        self.do("TRUNCATE contacts")

    def do(self, statement: str, *arguments: Any) -> Any:
        return self.world.run(self.world.app.fetchrow(statement, *arguments))

    # The application.

    @initialize(target=table)
    def delivered_to_begin_with(self) -> Any:
        insert = "INSERT INTO contacts (email, first_name, brevo_sync_status) VALUES ('a@b.co', 'a', 'Queued') RETURNING id"
        ids = [self.do(insert)["id"] for _ in range(2)]
        for contact in self._claim(2):
            self._finish(contact, Kind.DELIVERED)
        return multiple(*ids)

    @rule(contact=table, value=VALUES)
    def edit(self, contact: Any, value: str) -> None:
        self.do("UPDATE contacts SET first_name = $2 WHERE id = $1", contact, value)

    @rule(contact=table)
    def flip(self, contact: Any) -> None:
        self.do("UPDATE contacts SET brevo_sync_status = 'Queued' WHERE id = $1", contact)
        self.said_complete.discard(contact)

    @rule(contact=table, value=VALUES, word=st.sampled_from(("Queued", *WORDS)))
    def edit_with_a_word(self, contact: Any, value: str, word: str) -> None:
        self.do("UPDATE contacts SET first_name = $2, brevo_sync_status = $3 WHERE id = $1", contact, value, word)
        self.said_complete.discard(contact)

    @rule(target=memory, contact=table, model=st.sampled_from(MODELS))
    def load(self, contact: Any, model: str) -> Any:
        return dict(self.do(f"SELECT {model} FROM contacts WHERE id = $1", contact))

    @rule(row=memory, value=st.none() | VALUES)
    def save(self, row: dict[str, Any], value: str | None) -> None:
        """The whole row, with or without a change."""
        if value is not None:
            row["first_name"] = value
        before = self.do("SELECT brevo_sync_status AS status FROM contacts WHERE id = $1", row["id"])["status"]
        if before in ("New", "Error", *WORDS) and row["brevo_sync_status"] in ("Complete", "Processing"):
            self.said_complete.add(row["id"])
        columns = [name for name in row if name != "id"]
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, 2))
        self.do(f"UPDATE contacts SET {assignments} WHERE id = $1", row["id"], *(row[name] for name in columns))

    # The worker.

    @rule(target=claims, limit=st.integers(1, 2))
    def claim(self, limit: int) -> Any:
        return multiple(*self._claim(limit))

    def _claim(self, limit: int) -> list[Contact]:
        self.token += 1
        claimed = self.world.run(self.world.contacts.claim(limit, self.token)).contacts
        for contact in claimed:
            assert contact.id not in self.in_flight, "in two claims at a time"
            self.in_flight.add(contact.id)
        return claimed

    @rule(contact=consumes(claims), kind=st.sampled_from(ENDS))
    def finish(self, contact: Contact, kind: Kind) -> None:
        self._finish(contact, kind)

    def _finish(self, contact: Contact, kind: Kind) -> None:
        if kind is Kind.DELIVERED:
            self.world.crm[contact.id] = contact.fields["FIRSTNAME"]
        error = "CODE: reason" if kind in (Kind.RETRY, Kind.REJECTED) else None
        assert self.world.run(self.world.contacts.finish([Finish(contact.id, contact.token, kind, error, "7")])).written
        self.in_flight.discard(contact.id)

    # The promise.

    def teardown(self) -> None:
        """The applications are done; contacts in flight go back in line, and everything in line is delivered."""
        orphans = self.world.run(self.world.contacts.orphans([1]))
        if orphans:
            self.world.run(self.world.contacts.finish([Finish(i, token, Kind.ORPHANED) for i, token, _ in orphans]))
        self.in_flight.clear()
        while claimed := self._claim(2):
            for contact in claimed:
                self._finish(contact, Kind.DELIVERED)
        for row in self.world.run(self.world.app.fetch("SELECT * FROM contacts")):
            assert row["brevo_claimed_by"] is None
            assert row["brevo_due_at"] is None
            if row["id"] in self.said_complete:
                continue
            assert row["brevo_sync_status"] in ("Complete", "Error", *WORDS), "left on the way"
            if row["brevo_sync_status"] == "Complete":
                assert self.world.crm[row["id"]] == row["first_name"], "a change was lost"


def test_a_change_is_never_lost_on_a_random_walk(url: str) -> None:
    with on_ground(url) as ground:
        ground.runner.run(ground.database.fetch(query("register_worker"), 1, "walk", 1, "0"))
        ground.runner.run(ground.app.execute("SELECT crm_sync.watch('brevo', '{first_name}')"))
        contacts = Contacts(ground.database, ground.table, "email", {"FIRSTNAME": "first_name"})
        Walk.world = World(ground.runner, ground.app, contacts)
        walk(Walk, examples=EXAMPLES, steps=STEPS)
