"""SQLAlchemy on the contacts table, with psycopg and asyncpg: the manual's model, and stale objects next to a worker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, make_transient_to_detached, mapped_column
from sqlalchemy.orm.attributes import flag_modified

from crm_sync.models import CRMSyncStatus
from tests.harness import until
from tests.manual import blocks
from tests.orms.snippets import run
from tests.orms.steps import COMPLETE, ENDS_A_CLAIM, SHOWS_ITS_AGE, STATES, land, status, take_off
from tests.process import environment, process
from tests.steps import insert

MODEL, USE = blocks("how-to/sqlalchemy.md")


class Base(DeclarativeBase):
    pass


Contact = run(
    MODEL,
    Base=Base,
    DateTime=sqlalchemy.DateTime,
    Enum=sqlalchemy.Enum,
    Mapped=Mapped,
    UUID=UUID,
    datetime=datetime,
    mapped_column=mapped_column,
    uuid4=uuid4,
).Contact


class Application:
    """Sessions with one driver. Work in one is written as for a plain session, and ends with its commit."""

    def __init__(self, url: str, driver: str) -> None:
        self._url = sqlalchemy.make_url(url).set(drivername=f"postgresql+{driver}")
        self._engine = create_async_engine(self._url)

    async def run(self, work: Callable[[Session], Any]) -> Any:
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            result = await session.run_sync(work)
            await session.commit()
            return result

    async def run_in_a_plain_session(self, work: Callable[[Session], Any]) -> Any:
        """Like an application without asyncio. Only for psycopg: asyncpg has no synchronous interface."""

        def in_thread() -> Any:
            engine = sqlalchemy.create_engine(self._url)
            with Session(engine) as session:
                result = work(session)
                session.commit()
            engine.dispose()
            return result

        return await asyncio.to_thread(in_thread)

    async def close(self) -> None:
        await self._engine.dispose()


@pytest.fixture(params=["psycopg", "asyncpg"])
async def application(url: str, request: pytest.FixtureRequest) -> AsyncIterator[Application]:
    application = Application(url, request.param)
    yield application
    await application.close()


@pytest.fixture
async def key(application: Application) -> UUID:
    """Of the only contact."""

    def add(session: Session) -> UUID:
        contact = Contact(email="old@example.com")
        session.add(contact)
        session.flush()
        return contact.id

    return await application.run(add)


def read(session: Session) -> Any:
    """The only contact. Outside its session it is a detached object."""
    return session.scalars(sqlalchemy.select(Contact)).one()


def flip(session: Session) -> None:
    read(session).brevo_sync_status = "Queued"


def used_as_in_the_manual(session: Session) -> Any:
    contact = read(session)
    run(USE, session=session, contact=contact, Contact=Contact, update=sqlalchemy.update)
    return contact.email, contact.brevo_processing_error


@pytest.mark.parametrize("application", ["psycopg"], indirect=True)
async def test_the_code_of_the_manual_is_delivered_by_a_real_worker(app, url, brevo, application, key):
    async with process(environment(url, brevo)):
        assert await application.run_in_a_plain_session(used_as_in_the_manual) == ("ada@example.com", None)
        await until(app, COMPLETE)


async def test_the_code_of_the_manual_runs_in_an_asynchronous_session(app, application, key):
    assert await application.run(used_as_in_the_manual) == ("ada@example.com", None)
    assert await status(app) == ("Queued", "Queued")


@pytest.mark.parametrize("state", STATES)
async def test_every_state_is_read_and_filtered_by(app, application, state):
    await insert(app, state)

    def look(session: Session) -> Any:
        of_state = sqlalchemy.select(Contact).where(Contact.brevo_sync_status.in_([state]))
        return [contact.brevo_sync_status for contact in session.scalars(of_state)]

    assert await application.run(look) == [state]


def by_statement(session: Session) -> None:
    session.execute(sqlalchemy.update(Contact).values(brevo_sync_status="Queued"))


def by_key(session: Session) -> None:
    session.execute(sqlalchemy.update(Contact), [{"id": read(session).id, "brevo_sync_status": "Queued"}])


def by_upsert(session: Session) -> None:
    row = upsert(Contact).values(id=read(session).id, brevo_sync_status="Queued")
    columns = ("brevo_sync_status", "brevo_due_at", "brevo_flipped_at")
    session.execute(row.on_conflict_do_update(index_elements=["id"], set_={name: row.excluded[name] for name in columns}))


def by_merge(session: Session) -> None:
    session.merge(Contact(id=read(session).id, brevo_sync_status="Queued"))


FLIPS = [flip, by_statement, by_key, by_upsert, by_merge]


@pytest.mark.parametrize("write", FLIPS)
async def test_every_way_to_write_is_a_way_to_flip(app, application, key, crm, write):
    await application.run(write)
    await until(app, COMPLETE)
    assert len(crm.requests) == 1


@pytest.mark.parametrize("write", FLIPS)
async def test_a_flip_in_flight_is_sent_after_it_and_not_beside_it(app, application, key, crm, write):
    await take_off(app, crm, lambda: application.run(flip))
    await application.run(write)
    assert await status(app) == ("Queued", "Processing")
    await land(app, crm)
    assert len(crm.requests) == 2


async def test_a_flip_is_written_though_the_object_says_queued_from_before(app, application, key, crm):
    """The worker has delivered meanwhile, with the old address: SQLAlchemy alone would see no change of the status."""
    await application.run(flip)
    await until(app, COMPLETE)

    def correct(session: Session) -> None:
        contact = Contact(id=key, brevo_sync_status="Queued", email="old@example.com")  # as it was read before the claim
        make_transient_to_detached(contact)
        session.add(contact)
        contact.email, contact.brevo_sync_status = "new@example.com", "Queued"

    await application.run(correct)
    await crm.reached(2)
    await until(app, COMPLETE)
    assert crm.store[key]["email"] == "new@example.com"


class Whole(DeclarativeBase):
    pass


class WithClaim(Whole):
    __tablename__ = "contacts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None]
    brevo_claimed_by: Mapped[int | None] = mapped_column(sqlalchemy.BigInteger)
    brevo_due_at: Mapped[datetime | None] = mapped_column(sqlalchemy.DateTime(timezone=True))
    brevo_flipped_at: Mapped[datetime | None] = mapped_column(sqlalchemy.DateTime(timezone=True))


def upserted(key: UUID, columns: Sequence[str]) -> Callable[[Session], Any]:
    row = upsert(WithClaim).values(id=key, email="new@example.com", **dict.fromkeys(columns))
    changes = {name: row.excluded[name] for name in ("email", *columns)}
    return lambda session: session.execute(row.on_conflict_do_update(index_elements=["id"], set_=changes))


async def test_an_upsert_of_the_workers_columns_too_leaves_the_claim(app, application, key, crm):
    await take_off(app, crm, lambda: application.run(flip))
    await application.run(upserted(key, SHOWS_ITS_AGE))
    assert await app.fetchval("SELECT brevo_claimed_by IS NOT NULL FROM contacts")
    await land(app, crm)
    assert len(crm.requests) == 1


async def test_one_that_leaves_out_flipped_at_ends_the_claim_and_the_contact_is_sent_again(app, application, key, crm):
    await take_off(app, crm, lambda: application.run(flip))
    await application.run(upserted(key, ENDS_A_CLAIM))
    assert await app.fetchval("SELECT brevo_claimed_by IS NULL FROM contacts")
    await land(app, crm)
    assert crm.store[key]["email"] == "new@example.com"
    assert len(crm.requests) == 2


def saved_whole(stale: Any) -> Callable[[Session], None]:
    """A detached object is saved with every attribute flagged as modified."""

    def save(session: Session) -> None:
        session.add(stale)
        for column in sqlalchemy.inspect(Contact).column_attrs:
            if column.key != "id":
                flag_modified(stale, column.key)

    return save


def merged(stale: Any) -> Callable[[Session], None]:
    return lambda session: session.merge(stale)


@pytest.mark.parametrize("save", [saved_whole, merged])
@pytest.mark.parametrize("word", ["New", "Complete", "Error"])
@pytest.mark.usefixtures("key")
async def test_an_object_read_before_the_flip_and_saved_in_flight_resets_nothing(app, application, crm, word, save):
    await app.execute("UPDATE contacts SET brevo_sync_status = $1", word)
    stale = await application.run(read)
    await take_off(app, crm, lambda: application.run(flip))
    before = await app.fetchrow("SELECT * FROM contacts")
    await application.run(save(stale))
    assert await app.fetchrow("SELECT * FROM contacts") == before
    await land(app, crm)
    assert len(crm.requests) == 1


@pytest.mark.parametrize("save", [saved_whole, merged])
async def test_an_object_read_in_flight_and_saved_after_it_says_what_came_of_it(app, application, key, crm, save):
    await take_off(app, crm, lambda: application.run(flip))
    stale = await application.run(read)
    await land(app, crm)
    stale.email = "new@example.com"
    await application.run(save(stale))
    assert await status(app) == ("Complete", "Complete")
    row = await app.fetchrow("SELECT email, brevo_contact_id FROM contacts")
    assert tuple(row) == ("new@example.com", f"crm-{key}")
    assert len(crm.requests) == 1


# What the manual warns of.


def mapped_as(kind: Any, *arguments: Any) -> Any:
    class Other(DeclarativeBase):
        pass

    class Plain(Other):
        __tablename__ = "contacts"
        id: Mapped[UUID] = mapped_column(primary_key=True)
        brevo_sync_status: Mapped[kind] = mapped_column(*arguments)

    return Plain


def skip(plain: Any) -> Callable[[Session], Any]:
    def work(session: Session) -> Any:
        contact = session.scalars(sqlalchemy.select(plain)).one()
        contact.brevo_sync_status = "Skipped"
        session.flush()

    return work


async def test_a_status_mapped_as_text_is_refused(application, key):
    with pytest.raises(ProgrammingError, match="is of type crm_sync_status but expression is of type character varying"):
        await application.run(skip(mapped_as(str)))


async def test_a_python_enum_is_written_by_its_names_unless_told(app, application, key):
    with pytest.raises(LookupError, match="'New' is not among the defined enum values"):
        await application.run(skip(mapped_as(CRMSyncStatus)))
    told = sqlalchemy.Enum(
        CRMSyncStatus, name="crm_sync_status", values_callable=lambda states: [state.value for state in states]
    )
    await application.run(skip(mapped_as(CRMSyncStatus, told)))
    assert await status(app) == ("Skipped", None)


async def test_a_plain_enum_does_not_write_a_flip_over_an_object_that_says_queued(app, application, key):
    plain = mapped_as(str, sqlalchemy.Enum(*STATES, name="crm_sync_status"))

    def correct(session: Session) -> None:
        contact = plain(id=key, brevo_sync_status="Queued")
        make_transient_to_detached(contact)
        session.add(contact)
        contact.brevo_sync_status = "Queued"

    await application.run(correct)
    assert await status(app) == ("New", None)


async def test_a_value_that_the_model_does_not_know_cannot_be_read(app, application, key):
    await app.execute("ALTER TYPE crm_sync_status ADD VALUE 'Archived'")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Archived'")
    with pytest.raises(LookupError, match="Archived"):
        await application.run(read)
