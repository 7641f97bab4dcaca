"""A contact is delivered once, whatever the type of its key, and whatever its value: also one that a driver has no object for,
takes for another, or finds unequal to itself.
"""

import asyncio
import re

import pytest

from crm_sync.core.waits import Waits
from crm_sync.postgres.statements import files
from tests.harness import ALL_COMPLETE, ScriptedCrm, running, until
from tests.roles import adopt, let_in
from tests.tiers import one_case_quick

NO_TICK = Waits(tick_s=3600.0)
QUICK_TICK = Waits(tick_s=0.1)
MOMENTS = (
    *("0044-03-15 00:00:00{zone} BC", "0001-01-01 00:00:00{zone}", "9999-12-31 23:59:59.999999{zone}"),
    *("2026-01-02 03:04:05.6{zone}", "294276-12-31 23:59:59.999999{zone}", "infinity", "-infinity"),
)
KEYS = {
    "date": ("0044-03-15 BC", "0001-01-01", "9999-12-31", "5874897-12-31", "2026-01-02", "infinity", "-infinity"),
    "timestamptz": [moment.format(zone="+00") for moment in MOMENTS],
    "timestamp": [moment.format(zone="") for moment in MOMENTS],
    "time": ("24:00:00", "12:00:00", "23:59:59.999999"),
    "timetz": ("24:00:00+00", "12:00:00+15:59:59", "12:00:00-01"),
    "interval": ("P178000000Y", "P1Y", "P1Y2M-3DT4H", "PT0S"),
    "numeric": ("NaN", "Infinity", "1.50", "1E+100", "0"),
    "float8": ("NaN", "-Infinity", "0.1", "5e-324", "-0"),
    "float4": ("NaN", "0.1", "16777217"),
    "bytea": ("\\x00", "\\x5c000a27", "\\x", "\\xff"),
    "inet": ("10.0.0.1/24", "10.0.0.1", "::1"),
    "boolean": ("true", "false"),
    "bit(3)": ("101", "010"),
    "bit varying": ("101", ""),
    "char(5)": ("ab", "", "{x}"),
    "name": ("ab", "null", '"'),
    '"char"': ("a", "\\"),
    "jsonb": ('{"a": "\\\\u0000"}', "null", '"x"'),
    "oid": ("4294967295",),
    "xid8": ("18446744073709551615",),
    "pg_lsn": ("16/B374D848",),
    "money": ("-92233720368547758.08", "1.50"),
    "tsvector": ("'a' 'b':1A", ""),
    "daterange": ("[4713-01-01 BC,infinity)", "(,)", "empty"),
    "public.mood": ("it's, {null}", "NULL"),
    "public.day": ("0044-03-15 BC", "infinity"),
    "public.cased": ("Ada", "ada"),
}
TYPES = """
CREATE TYPE public.mood AS ENUM ('it''s, {null}', 'NULL');
CREATE DOMAIN public.day AS date CHECK (VALUE > '-infinity');
CREATE DOMAIN public.cased AS text COLLATE "C";
"""


async def adopted(owner, url, kind, keys):
    await owner.execute(f"{TYPES} CREATE TABLE contacts (id {kind} PRIMARY KEY, email text)")
    await asyncio.to_thread(adopt, url)
    await asyncio.to_thread(let_in, url)
    for number, key in enumerate(keys):
        await owner.execute(f"INSERT INTO contacts (id, email) VALUES ($1::text::{kind}, $2)", key, f"{number}@example.com")


@pytest.mark.parametrize(("kind", "keys"), one_case_quick(KEYS.items()), ids=KEYS)
async def test_each_is_delivered_once_at_the_first_attempt(owner, empty_url, kind, keys):
    crm = ScriptedCrm()
    await adopted(owner, empty_url, kind, keys)
    async with running(empty_url, crm, waits=NO_TICK):
        await owner.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
        await until(owner, ALL_COMPLETE)
    assert sorted(one.email for request in crm.requests for one in request) == [f"{n}@example.com" for n in range(len(keys))]
    assert await owner.fetchval("SELECT array_agg(DISTINCT brevo_attempts) FROM contacts") == [1]
    assert await owner.fetchval(f"SELECT bool_and(substr(brevo_contact_id, 5)::{kind} = id) FROM contacts")


def test_no_statement_takes_a_key_as_an_object_of_the_driver():
    """Their parameters are :sent_key and :sent_keys, and what they return has :as_read."""
    assert [name for name, file in files().items() if re.search(r"\$\d+:::id_type", file.read_text())] == []
