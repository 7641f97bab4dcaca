"""What a CRM says about the fields that are sent to it: asked only on request, never when a page is viewed.

That takes one or two requests, which count towards the account's limits and are not sent while the lane must not call the CRM.
"""

import asyncio
from collections import defaultdict

from crm_sync.api.lane_models import FieldsSaid, SaidField
from crm_sync.api.lanes import Lanes
from crm_sync.api.tables import Tables
from crm_sync.configuration import Configuration
from crm_sync.core.text import clean
from crm_sync.crm.account import Account
from crm_sync.errors import CrmSyncError, DeclinedError
from crm_sync.limits.rate_limit import RateLimit
from crm_sync.postgres.pool import Database
from crm_sync.reports.lane_label import CALLABLE
from crm_sync.reports.remote_fields import FieldComparison, compare_fields
from crm_sync.table.mapping import FieldMapping, prepare_for
from crm_sync.telling import deeds
from crm_sync.telling.deeds import Doer

LONGEST_S = 10.0  # to wait for a CRM, because a person is waiting too
FITS, NOT_KNOWN = "takes it", "not known"


class Fields:
    def __init__(self, configuration: Configuration, tables: Tables, lanes: Lanes, reading: Database, writing: Database) -> None:
        self._configuration = configuration
        self._tables = tables
        self._lanes = lanes
        self._reading = reading
        self._writing = writing
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ask(self, crm: str, by: Doer) -> FieldsSaid:
        """Each mapped field, and what the CRM says about it. The request is recorded as an event.

        Raises NotFoundError; DeclinedError if the CRM must not be asked now, or does not answer; else as Database.fetch does.
        """
        await self._tables.table(crm)
        state = await self._lanes.crm(crm)
        if state.state not in CALLABLE:
            raise DeclinedError(f"{crm} is not asked now: {state.sentence}")
        account = self._configuration.account(crm)
        if account is None:
            raise DeclinedError(f"{crm} cannot be asked: the console's settings have no credentials for it")
        schema, sections = await self._tables.schema(), self._configuration.mapping
        known = account.default_fields
        mapping = await prepare_for(self._reading, crm, sections, known, schema, forms=account.forms, claims=False)
        note, compared = await self._compare(crm, account, mapping, by)
        unknown = "it does not name its fields" if compared.known is None else None
        if compared.unknown is not None:
            unknown = clean(compared.unknown)
        misfits = {misfit.name: misfit.words for misfit in compared.misfits}
        says = {name: NOT_KNOWN if unknown else misfits.get(name, FITS) for name in mapping.fields}
        written = {one.name: one.expression for one in await self._lanes.mapping(crm)}
        fields = [
            SaidField(name=name, expression=written[name], fits=None if unknown else name not in misfits, says=says[name])
            for name in mapping.fields
        ]
        return FieldsSaid(crm=crm, unknown=unknown, fields=fields, note=note)

    async def _compare(self, crm: str, account: Account, mapping: FieldMapping, by: Doer) -> tuple[str | None, FieldComparison]:
        """One at a time. Returns also a note if the request could not be recorded."""
        if self._turns[crm].locked():
            raise DeclinedError(f"{crm} is being asked already: try again in a moment")
        async with self._turns[crm]:
            note = await deeds.note(self._writing, deeds.FIELDS_ASKED, crm, by=by)
            try:
                async with (
                    asyncio.timeout(LONGEST_S),
                    account.open(RateLimit(self._writing, crm, account.windows)) as client,
                ):
                    return note, await compare_fields(client, mapping)
            except TimeoutError:
                raise DeclinedError(f"{crm} has not answered within {LONGEST_S:.0f} s") from None
            except CrmSyncError:
                raise
            except Exception as error:  # of a plug-in
                raise DeclinedError(f"the client of {crm} failed: {type(error).__name__}") from error
