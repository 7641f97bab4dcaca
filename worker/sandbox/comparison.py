"""Holds the contacts table against what the CRM holds, person by person."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.identity import check_email


@dataclass(frozen=True, slots=True)
class Row:
    """What the contacts table says of one person."""

    email: str | None
    first_name: str
    last_name: str
    phone: str | None
    phone_is_valid: bool
    sync_status: str
    error: str | None
    remote_id: str | None

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.partition(":")[0]

    @property
    def address(self) -> str:
        return (self.email or "").strip().lower()


def differences(rows: Sequence[Row], records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Everything that did not end as it should, a sentence each. records: as Brevo gives a contact.

    An address, however often it is in the table, is one record, and all its rows know that record's id. A number that several
    people share is held by one record; the others say that it was not sent. What is no address is in no record.
    """
    by_address = {record["email"]: record for record in records}
    problems = []
    valid = [row for row in rows if check_email(row.email) is None]
    for row in rows:
        problems += _of_row(row, by_address.get(row.address), expected=check_email(row.email) is None)
    unknown = by_address.keys() - {row.address for row in valid}
    problems += [f"record {by_address[address]['id']}: nobody in the table has its address" for address in unknown]
    return problems + _of_phones(valid, by_address)


def _of_row(row: Row, record: Mapping[str, Any] | None, *, expected: bool) -> list[str]:
    if not expected:
        if (row.sync_status, row.code) != ("Error", "INVALID_EMAIL"):
            return [f"a contact without an address is {row.sync_status}, {row.code}"]
        return []
    if record is None:
        return [f"a contact that is {row.sync_status} is not in the CRM"]
    if row.sync_status != "Complete" or row.code not in (None, "FIELD_NOT_SENT"):
        return [f"record {record['id']}: its contact is {row.sync_status}, {row.code}"]
    if row.remote_id != str(record["id"]):
        return [f"record {record['id']}: its contact has the id {row.remote_id}"]
    return []


def _of_phones(rows: Sequence[Row], by_address: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problems = []
    rows_of_phone: dict[str, list[Row]] = defaultdict(list)
    rows_of_address: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        rows_of_address[row.address].append(row)
        if row.phone and row.phone.strip():
            rows_of_phone[row.phone].append(row)
    for phone, sharers in rows_of_phone.items():
        addresses = {row.address for row in sharers}
        holders = {a for a in addresses if a in by_address and _same_number(by_address[a]["attributes"].get("SMS"), phone)}
        if len(holders) != (1 if sharers[0].phone_is_valid else 0):
            problems.append(f"a phone number of {len(addresses)} people is held by {len(holders)} records")
        silent = [row for row in sharers if row.address not in holders and row.code != "FIELD_NOT_SENT"]
        problems += ["a contact whose phone number was not sent does not say so" for _ in silent]
    for address, twins in rows_of_address.items():
        names = {(row.first_name, row.last_name) for row in twins}
        held = by_address.get(address, {}).get("attributes", {})
        if address in by_address and (held.get("FIRSTNAME"), held.get("LASTNAME")) not in names:
            problems.append(f"record {by_address[address]['id']}: its name is none of its contact's")
    return problems


def _same_number(held: str | None, phone: str) -> bool:
    return held is not None and held.lstrip("+") == phone.lstrip("+")
