"""Which version of HubSpot's API is called, and what depends on it: other paths, the end of its support, and what it enforces.

v3 is unsupported from September 2027 on [HubSpot, changelog on legacy APIs]. Versions named by a date appear each March and
September and are supported for 18 months [HubSpot, "API versioning"]. 2026-03 writes like v3; from 2026-09 on, the rules of the
account apply to API writes too [HubSpot, changelog "CRM API write validation enforcement", 2026-08-11].
"""

import re
from dataclasses import dataclass

V3 = "v3"
ENFORCING = "2026-09"  # the first that does
SUPPORTED_MONTHS = 18
# The version for subscriptions if the contacts' version is v3. Their v4 ends in March 2027, before v3 does. This one has the same
# requests [HubSpot, API reference 2026-03, communication preferences].
WITH_V3 = "2026-03"

_OBJECTS = r"/objects/{}(?:contacts|0-1)"  # 0-1 is the id of their type
_V3 = re.compile(rf"(.*)/crm/v3{_OBJECTS.format('')}")
_DATED = re.compile(rf"(.*)/crm{_OBJECTS.format('(20[0-9]{2}-(?:0[1-9]|1[0-2]))/')}")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Version:
    """name: v3, or a date. properties, account: the paths that list the properties and describe the account.

    ends: the month from which it is unsupported. statuses, lists: the paths of email subscriptions and of lists.
    """

    name: str
    properties: str
    account: str
    ends: str
    statuses: str
    lists: str

    @property
    def enforces(self) -> bool:
        """Whether API writes must have what the account requires of contacts created by hand."""
        return self.name != V3 and self.name >= ENFORCING


def version_of(path: str) -> Version | None:
    """From the path of the contacts; None if something other than HubSpot defined it, such as a proxy."""
    if match := _V3.fullmatch(path):
        return _v3(match[1])
    if match := _DATED.fullmatch(path):
        before, date = match.groups()
        return Version(
            date,
            f"{before}/crm/properties/{date}/contacts",
            f"{before}/account-info/{date}/details",
            _end(date),
            f"{before}/communication-preferences/{date}/statuses",
            f"{before}/crm/lists/{date}",
        )
    return None


def _v3(before: str) -> Version:
    return Version(
        V3,
        f"{before}/crm/v3/properties/contacts",
        f"{before}/account-info/v3/details",
        "September 2027",
        f"{before}/communication-preferences/{WITH_V3}/statuses",
        f"{before}/crm/v3/lists",
    )


CURRENT = _v3("")


def _end(date: str) -> str:
    year, month = map(int, date.split("-"))
    months = year * 12 + month - 1 + SUPPORTED_MONTHS
    return f"{_MONTHS[months % 12]} {months // 12}"
