"""crm-sync sync: sends one contact now, while you watch."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from crm_sync import log
from crm_sync.configuration import Configuration, load
from crm_sync.core.durations import span
from crm_sync.core.outcome import Finish, Kind
from crm_sync.core.waits import Waits
from crm_sync.crm.account import Account
from crm_sync.crm.answer import Answer
from crm_sync.crm.exchange import Shown
from crm_sync.daemon.installation import Installation
from crm_sync.daemon.short_worker import ShortWorker
from crm_sync.errors import DeclinedError, LaneError
from crm_sync.postgres.pool import Database
from crm_sync.postgres.statements import query
from crm_sync.reports.completing import crm_names
from crm_sync.reports.contact_report import Workers, rows, state, who
from crm_sync.reports.http_report import answer_lines, harmless, request_lines
from crm_sync.reports.lane_state import LaneState, read_lane_states
from crm_sync.reports.layout import labelled
from crm_sync.reports.named_contact import NamedContact, named_contact
from crm_sync.reports.watched_columns import lane_of
from crm_sync.table.adopted_table import LaneTable
from crm_sync.table.mapping import prepare_for
from crm_sync.table.one_contact import Match, Standing, show
from crm_sync.table.schema import read_schema
from crm_sync.telling import deeds

LOOK_PATIENCE_S = 60.0  # the address may have no index, and the table many millions of rows
POOL_SIZE = 4
COLUMNS = (
    "sync_status",
    "processing_status",
    "processing_error",
    "remote_id",
    "attempts",
    "due_at",
    "claimed_by",
    "synced_at",
    "flipped_at",
)


@click.command()
@named_contact
@click.option("--crm", metavar="CRM", shell_complete=crm_names, help="To this CRM only, even if the contact is not wanted there.")
@click.make_pass_decorator(Waits, ensure=True)
def sync(waits: Waits, *, contact: NamedContact, crm: str | None) -> None:
    """Sends one contact now, as a worker does, and shows each request, its answer, and the row afterwards.

    A contact that is not in line is flipped. Without --crm it goes to the CRMs where it is wanted (not New, Selected or Skipped).
    A CRM that is paused or down is not called. Credentials are masked; what is sent about the person is not. Exits 0 if it was
    delivered.

    \b
    Example:
      crm-sync sync --email ada@example.com --crm brevo
    """
    # Errors are reported in plain words; the structured log is the workers'.
    log.configure(logging.ERROR)
    if not asyncio.run(_sync(load(), waits, contact, crm)):
        sys.exit(1)


async def _sync(configuration: Configuration, waits: Waits, contact: NamedContact, crm: str | None) -> bool:
    """Whether it was delivered to all CRMs where it should be."""
    settings = configuration.settings
    async with Database.of(settings, size=1, timeout_s=LOOK_PATIENCE_S) as database:
        schema = await read_schema(database, settings.contacts_table, [crm] if crm else [])
        lanes = [lane_of(schema, crm)] if crm else [*schema.lanes]
        ids = await contact.find(database, schema.lanes[lanes[0]])
    if not ids:
        click.echo(harmless(contact.absent))
        return False
    async with Database.of(settings, size=POOL_SIZE) as database:
        accounts = {name: _shown(account) for name in lanes if (account := configuration.account(name))}
        sections = configuration.mapping
        mappings = {
            name: await prepare_for(
                database,
                name,
                sections,
                account.default_fields,
                schema,
                forms=account.forms,
                empty=configuration.lane(name).empty,
                required=account.required,
            )
            for name, account in accounts.items()
        }
        installation = Installation(schema, {name: configuration.lane(name) for name in accounts}, mappings)
        async with ShortWorker(installation, database, settings.session_url, waits, history=settings.history) as worker:
            told = [
                await _Visit(database, worker, schema.lanes[name], accounts.get(name), named=crm is not None).make(
                    ids, first=not number
                )
                for number, name in enumerate(lanes)
            ]
    return any(told) and False not in told


def _shown(account: Account) -> Account:
    """Makes the client print its requests and answers, if it allows that."""
    return account if account.witnessed is None else replace(account, open=account.witnessed(_Printer(), None))


class _Printer:
    """Prints each request as it starts, and its answer as it comes."""

    def __init__(self) -> None:
        self._request: Shown | None = None

    def asked(self, request: Shown) -> None:
        before, self._request = self._request, request
        _tell(["", *request_lines(request, before.headers if before else None)])

    def answered(self, said: Answer | LaneError) -> None:
        _tell(["", *answer_lines(said, login=self._request is not None and self._request.login)])


@dataclass(frozen=True, slots=True)
class _Visit:
    """To one CRM. named: the user named it, so the contact is sent even if it was never wanted there."""

    database: Database
    worker: ShortWorker
    table: LaneTable
    account: Account | None
    named: bool

    async def make(self, ids: Sequence[Any], *, first: bool) -> bool | None:
        """Whether it was delivered; None if it was not to be."""
        click.echo(("" if first else "\n") + click.style(self.table.crm, bold=True))
        matches = await show(self.database, self.table, ids)
        if not matches:
            return self._not_sent("the row was deleted just now")
        workers = await self._workers()
        click.echo(harmless("\n".join([*rows(matches), labelled("state", state(matches[0], workers))])))
        if not self.named and matches[0].standing is Standing.NOT_ASKED_FOR:
            click.echo(labelled("skipped", f"to send it anyway: --crm {self.table.crm}"))
            return None
        if self.account is None:
            return self._not_sent("there are no credentials in these settings")
        for match in matches:
            if match.standing is Standing.IN_FLIGHT:
                return self._not_sent(f"it is in flight already, with {who(match, workers)}")
        return await self._send(self.account, matches)

    async def _send(self, account: Account, matches: Sequence[Match]) -> bool:
        meant, twins = matches[0], [one.id for one in matches[1:] if one.standing is Standing.IN_LINE]
        if problem := await self._closed():
            return self._not_sent(problem)
        try:
            in_line = meant.standing in (Standing.IN_LINE, Standing.WAITING)
            finish = await self.worker.deliver_one(self.table.crm, account, meant.id, twins, flip=not in_line)
        except DeclinedError as error:
            return self._not_sent(str(error))
        click.echo()
        if finish is not None:
            deeds.tell(await deeds.note(self.database, deeds.CONTACT_SENT, self.table.crm, outcome=finish.kind.value))
        if finish is None:
            self._not_sent(await self._closed() or await self._taken(meant))
        else:
            click.echo(harmless(labelled("outcome", await self._outcome(finish))))
        await self._tell_row(meant)
        return finish is not None and finish.kind is Kind.DELIVERED

    def _not_sent(self, why: str) -> bool:
        click.echo(harmless(labelled("not sent", why)))
        return False

    async def _workers(self) -> Workers:
        return {row["id"]: dict(row) for row in await self.database.fetch(query("list_workers"))}

    async def _closed(self) -> str | None:
        """Why the CRM must not be called."""
        lane_state = (await read_lane_states(self.database))[self.table.crm]
        if lane_state.open:
            return None
        return f"{self.table.crm} is {lane_state.sentence}{await self._advice(lane_state)}"

    async def _advice(self, lane_state: LaneState) -> str:
        """Only workers probe: what they have in line is worth more than one person's contact."""
        if lane_state.held:
            return f". To go on: crm-sync resume {lane_state.crm}"
        others = (worker for worker in (await self._workers()).values() if worker["id"] != self.worker.worker_id)
        return "" if any(worker["alive"] for worker in others) else ". A worker probes it, and none runs: crm-sync run"

    async def _taken(self, before: Match) -> str:
        """Why the contact was not available."""
        now = await show(self.database, self.table, [before.id])
        if not now:
            return "the row was deleted meanwhile"
        if now[0].standing is Standing.IN_FLIGHT:
            return f"a worker was quicker: it is in flight with {who(now[0], await self._workers())}"
        if (now[0].synced_at, now[0].attempts) != (before.synced_at, before.attempts):
            return "a worker was quicker, and has finished it"
        return "a transaction of the application has locked the row: try again when it has ended"

    async def _outcome(self, finish: Finish) -> str:
        match finish.kind:
            case Kind.DELIVERED:
                note = f", but {finish.error}" if finish.error else ""
                return f"delivered{f' as record {finish.remote_id}' if finish.remote_id else ''}{note}"
            case Kind.RETRY:
                return f"failed: {finish.error}. It is tried again in {span(finish.delay_s)}"
            case Kind.REJECTED:
                return f"rejected: {finish.error}"
        closed = await self._closed()
        if finish.error is not None and not closed:
            return f"not delivered: {finish.error}. It is back in line"
        return "not delivered: the CRM said nothing about this contact. It is back in line" + (f"; {closed}" if closed else "")

    async def _tell_row(self, match: Match) -> None:
        now = await show(self.database, self.table, [match.id])
        if not now:
            return
        names = {column: self.table.variables[column].strip('"') for column in COLUMNS}
        width = max(map(len, names.values())) + 2
        values = {column: getattr(now[0], column) for column in COLUMNS}
        lines = [labelled(names[column], _text(values[column]), indent=4, label_width=width) for column in COLUMNS]
        click.echo(harmless("\n".join(["", "  the row now", *lines])))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _tell(lines: Sequence[str]) -> None:
    click.echo(harmless("\n".join(f"  {line}".rstrip() for line in lines)))
