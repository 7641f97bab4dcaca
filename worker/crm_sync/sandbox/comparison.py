"""Compares the contacts table with what the CRMs hold, person by person."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crm_sync.core.codes import Code
from crm_sync.core.identity import check_email, fold


@dataclass(frozen=True, slots=True)
class Row:
    """What the contacts table says about one person in one CRM. refused: by the CRM, whatever is sent."""

    email: str | None
    first_name: str
    last_name: str
    phone: str | None
    phone_is_valid: bool
    refused: bool
    sync_status: str
    error: str | None
    remote_id: str | None

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.partition(":")[0]

    @property
    def address(self) -> str:
        return fold(self.email or "")


@dataclass(frozen=True, slots=True)
class Record:
    """What a CRM holds about one person. phone: without the plus."""

    id: str
    email: str
    first_name: str | None
    last_name: str | None
    phone: str | None


def record(crm: str, there: Mapping[str, Any]) -> Record:
    """A contact as the sandbox of a CRM shows it, in a common form."""
    match crm:
        case "hubspot":
            number, fields, names = there["id"], there["properties"], ("firstname", "lastname", "phone")
            email = fields["email"]
        case "brevo":
            number, fields, names = there["id"], there["attributes"], ("FIRSTNAME", "LASTNAME", "SMS")
            email = there["email"]
        case "mautic":
            number, fields, names = there["id"], there["fields"]["all"], ("firstname", "lastname", "phone")
            email = fields["email"]
        case _:
            number, fields, names = there["execution_id"], there["fields"], ("first_name", "last_name", "phone")
            email = there["email"]
    first_name, last_name, phone = (fields.get(name) for name in names)
    return Record(str(number), fold(email or ""), first_name, last_name, phone.lstrip("+") if phone else None)


def differences(crm: str, rows: Sequence[Row], records: Iterable[Record]) -> list[str]:
    """Everything that did not end as it should, one sentence each.

    An address is one record, however often it is in the table, and all its rows have that record's id; for n8n, where an id is a
    run of the workflow, one of them does. Rows without a valid address, or refused by the CRM, have no record. In Brevo, a number
    that several people share is in one record; the other rows say that it was not sent.
    """
    by_address: dict[str, Record] = {}
    problems = []
    for one in records:
        if not one.email and crm == "n8n":
            continue  # of contacts without an address
        if one.email in by_address:
            problems.append(f"records {by_address[one.email].id} and {one.id} have one address")
        by_address[one.email] = one
    wanted = [row for row in rows if check_email(row.email) is None and not row.refused]
    known = {(row.address, row.remote_id) for row in rows}
    for row in rows:
        there = by_address.get(row.address)
        problems += _of_row(crm, row, there)
        if there and row.remote_id != there.id and not (crm == "n8n" and row.remote_id and (row.address, there.id) in known):
            problems.append(f"record {there.id}: its contact has the id {row.remote_id}")
    unknown = by_address.keys() - {row.address for row in wanted}
    problems += [f"record {by_address[address].id}: nobody in the table should be there" for address in unknown]
    problems += _of_names(wanted, by_address)
    return problems + (_of_phones(wanted, by_address) if crm == "brevo" else [])


def _of_row(crm: str, row: Row, there: Record | None) -> Iterator[str]:
    became = f"is {row.sync_status}, {row.code}"
    is_without = crm == "n8n" and not (row.email or "").strip()  # which n8n takes
    if check_email(row.email) is not None and not is_without:
        if (row.sync_status, row.code) != ("Error", Code.INVALID_EMAIL):
            yield f"a contact without an address {became}"
    elif row.refused:
        if row.sync_status != "Error" or row.code not in (Code.REJECTED, Code.WORKFLOW_FAILED):
            yield f"a contact that the CRM refuses {became}"
    elif is_without:
        if row.sync_status != "Complete":
            yield f"a contact without an address {became}"
    elif there is None:
        yield f"a contact that {became} is not in the CRM"
    elif row.sync_status != "Complete" or row.code not in (None, Code.FIELD_NOT_SENT):
        yield f"record {there.id}: its contact {became}"


def _of_names(rows: Sequence[Row], by_address: Mapping[str, Record]) -> list[str]:
    names: dict[str, set[tuple[str | None, str | None]]] = defaultdict(set)
    for row in rows:
        names[row.address].add((row.first_name, row.last_name))
    return [
        f"record {by_address[address].id}: its name is none of its contact's"
        for address, given in names.items()
        if address in by_address and (by_address[address].first_name, by_address[address].last_name) not in given
    ]


def _of_phones(rows: Sequence[Row], by_address: Mapping[str, Record]) -> list[str]:
    problems = []
    rows_of_phone: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.phone and row.phone.strip():
            rows_of_phone[row.phone].append(row)
    for phone, sharers in rows_of_phone.items():
        addresses = {row.address for row in sharers}
        holders = {address for address in addresses if address in by_address and by_address[address].phone == phone.lstrip("+")}
        if len(holders) != (1 if sharers[0].phone_is_valid else 0):
            problems.append(f"a phone number of {len(addresses)} people is held by {len(holders)} records")
        silent = [row for row in sharers if row.address not in holders and row.code != Code.FIELD_NOT_SENT]
        problems += ["a contact whose phone number was not sent does not say so" for _ in silent]
    return problems
