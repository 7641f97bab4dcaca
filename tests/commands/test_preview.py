"""crm-sync preview: the request that would be sent, while nothing is sent or written."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import click.testing
import pytest

from crm_sync.cli import crm_sync
from crm_sync.core.outcome import Contact
from crm_sync.crm.rehearsal import rehearse
from crm_sync.errors import DeclinedError
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.credentials import BREVO_KEY
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import ACCOUNT, FIELDS
from tests.commands.printed import requests, tapped
from tests.harness import ScriptedCrm, account, running, until
from tests.process import ended, environment, process
from tests.roles import as_worker, let_in
from tests.steps import insert, orphan
from tests.tiers import slow

PERSON = (
    "INSERT INTO contacts (email, first_name, last_name, phone, city) "
    "VALUES ('Zoe.Ada@example.com', 'Zoë \"Z\"', 'O''Neil \\ 😀', '+33639980001', 'Łódź') RETURNING id"
)
ADDRESS = "ada@example.com"
# Everything that a worker may write, and what shows that a row was written.
STATE = (
    "SELECT jsonb_build_array("
    "(SELECT jsonb_agg(jsonb_build_array(c.xmin::text, to_jsonb(c))) FROM contacts AS c), "
    "(SELECT jsonb_agg(to_jsonb(l) ORDER BY l.id) FROM crm_sync.lanes AS l), "
    "(SELECT jsonb_agg(to_jsonb(b)) FROM crm_sync.budgets AS b), "
    "(SELECT count(*) FROM crm_sync.workers), (SELECT last_value FROM crm_sync.workers_id_seq))"
)


def run(url: str, *arguments: str, **env: str) -> click.testing.Result:
    """With the role of a worker; in a thread, because a command runs its own event loop."""
    settings = {"DATABASE_URL": as_worker(url), "BREVO_API_KEY": BREVO_KEY, **env}
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(click.testing.CliRunner().invoke, crm_sync, ["preview", *arguments], env=settings).result()


def told(url: str, *arguments: str, **env: str) -> str:
    answer = run(url, "--email", ADDRESS, "--crm", "brevo", *arguments, **env)
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return " ".join(answer.output.split())


@pytest.fixture
async def sandboxes():
    async with AsyncExitStack() as stack:
        yield {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in CRMS}


@pytest.fixture
async def taps():
    """(sandboxes, what each received over the wire)"""
    async with AsyncExitStack() as stack:
        made = {crm: UNLIMITED[crm](0) for crm in CRMS}
        heard = {crm: tapped(sandbox) for crm, sandbox in made.items()}
        for sandbox in made.values():
            await stack.enter_async_context(sandbox)
        yield made, heard


def everywhere(url, sandboxes, **settings_of_others):
    env = environment(url)
    for crm, sandbox in sandboxes.items():
        env |= settings(crm, sandbox.url)
    return env | settings_of_others


async def printed(env, *arguments) -> str:
    async with process(env, "preview", *arguments) as running_command:
        code, out, err = await ended(running_command)
    assert (code, err) == (0, ""), (out, err)
    return out


# Nothing is sent, nothing is written.


async def test_nothing_reaches_a_crm_and_nothing_is_written(app, url, sandboxes):
    await app.execute(PERSON)
    await app.execute("UPDATE contacts SET hubspot_contact_id = '101', brevo_contact_id = '7', mautic_contact_id = '9'")
    await app.execute("UPDATE contacts SET " + ", ".join(f"{crm}_sync_status = 'Queued'" for crm in CRMS))
    before = await app.fetchval(STATE)
    env = everywhere(url, sandboxes)
    for limits in ("BREVO_LIMITS", "HUBSPOT_LIMITS"):
        del env[limits]  # with the vendor's limits, of which nothing is used
    out = await printed(env, "--email", "zoe.ada@example.com")
    assert {request.method for case in requests(out).values() for request in case} >= {"GET", "POST", "PUT", "PATCH"}
    assert await app.fetchval(STATE) == before
    assert [sandbox.request_count for sandbox in sandboxes.values()] == [0, 0, 0, 0]
    assert out.endswith("Nothing was sent, and nothing was changed.\n")


async def test_a_mapping_that_writes_does_not_write(app, url, tmp_path):
    await app.execute("CREATE SEQUENCE numbers; GRANT ALL ON SEQUENCE numbers TO PUBLIC")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text("[brevo]\nNUMBER = \"nextval('public.numbers')\"\n")
    await insert(app)
    answer = run(url, "--email", ADDRESS, "--crm", "brevo", MAPPING_FILE=str(mapping))
    assert answer.exit_code == 1
    assert "read-only transaction" in str(answer.exception)
    assert await app.fetchval("SELECT is_called FROM numbers") is False


async def test_a_client_with_a_transport_of_its_own_is_not_even_opened():
    client = ScriptedCrm()
    contact = Contact(1, 0, 0, None, ADDRESS, None, {})
    with pytest.raises(DeclinedError, match="does not send over the HTTP client of crm-sync"):
        await rehearse(account(client), contact)
    assert client.requests == []


# It is exactly the request that a worker then sends.

KNOWN = {
    "hubspot": "If HubSpot has record {}",
    "brevo": "If Brevo has contact {}, with this address",
    "mautic": "If record {} of Mautic has this address",
}
MOVED = {**KNOWN, "brevo": "If Brevo has contact {}, with another address", "mautic": "If no record of Mautic has this address"}
GONE = {
    "hubspot": "If HubSpot has no record {} any more",
    "brevo": "If Brevo has no contact {} any more",
    "mautic": MOVED["mautic"],
}
NEW = {"mautic": "If no record of Mautic has this address"}


def is_asked_first(heard):
    """Before the first delivery, a worker asks for the CRM's fields, and whose account it is."""
    path = heard.target.partition("?")[0]
    return heard.method == "GET" and bool(FIELDS.search(path) or ACCOUNT.search(path))


def same(crm, printed_request, heard):
    """The printed body, written as that client writes it, is what arrived."""
    compact = {"ensure_ascii": False, "separators": (",", ":")} if crm == "n8n" else {}
    body = printed_request.body
    if crm == "n8n":
        body = {**body, "sent_at": json.loads(heard.body)["sent_at"]}  # the clock has moved on
    expected = b"" if body is None else json.dumps(body, **compact).encode()
    assert heard.body == expected
    assert heard.method == printed_request.method
    if crm != "n8n":  # its path is a secret
        assert printed_request.url.endswith(heard.target)
    for name, value in printed_request.headers.items():
        assert heard.headers[name] == value or "***" in value
    # HTTP's own headers are added when the request is sent.
    assert {name.lower() for name in heard.headers} - {name.lower() for name in printed_request.headers} <= {
        "host",
        "accept-encoding",
        "content-length",
    }


async def check_same(app, url, taps, change, cases):
    """Previews the only contact after a change and a flip; then a real worker sends it. cases: the assumptions, by CRM."""
    sandboxes, heard = taps
    await app.execute(change)
    flips = ", ".join(f"{crm}_sync_status = 'Queued'" for crm in CRMS)
    await app.execute(f"UPDATE contacts SET {flips}")
    row = await app.fetchrow("SELECT * FROM contacts")
    env = everywhere(url, sandboxes)
    chains = {}
    for crm in CRMS:
        found = requests(await printed(env, "--email", row["email"], "--crm", crm))
        case = cases.get(crm, "").format(row["n8n_workflow_id" if crm == "n8n" else f"{crm}_contact_id"])
        assert case in found, (crm, case, list(found))
        chains[crm] = found[""] + (found[case] if case else [])
    for requests_of_one in heard.values():
        requests_of_one.clear()
    complete = " AND ".join(f"bool_and({crm}_sync_status = 'Complete')" for crm in CRMS) + " FROM contacts"
    async with process(env):
        await until(app, complete)
    for crm in CRMS:
        assert chains[crm], crm
        heard[crm][:] = [one for one in heard[crm] if not is_asked_first(one)]
        assert len(chains[crm]) <= len(heard[crm])
        for expected, came in zip(chains[crm], heard[crm], strict=False):
            same(crm, expected, came)
    return heard


async def test_it_is_what_a_worker_sends_of_a_new_contact(app, url, taps):
    heard = await check_same(app, url, taps, PERSON, NEW)
    assert [len(heard[crm]) for crm in CRMS] == [1, 1, 2, 1]


async def test_a_contact_that_shares_its_record_with_another_address_is_shown_without_the_id(app, url):
    env = environment(url) | settings("hubspot", "http://127.0.0.1:1")
    await app.execute(f"INSERT INTO contacts (email, hubspot_contact_id) VALUES ('{ADDRESS}', '101')")
    assert "/batch/update" in await printed(env, "--email", ADDRESS, "--crm", "hubspot")
    await app.execute("INSERT INTO contacts (email, hubspot_contact_id) VALUES ('bob@example.com', '101')")
    out = await printed(env, "--email", ADDRESS, "--crm", "hubspot")
    assert "/batch/upsert" in out
    assert "101" not in out.partition("request")[2]


@slow
async def test_it_is_what_a_worker_sends_of_one_that_the_crm_has_then_of_a_moved_one_then_of_one_that_is_gone(app, url, taps):
    sandboxes, _ = taps
    await check_same(app, url, taps, PERSON, NEW)
    heard = await check_same(app, url, taps, "UPDATE contacts SET first_name = 'Ada'", KNOWN)
    assert [len(heard[crm]) for crm in CRMS] == [1, 2, 2, 1], "all that was sent was shown"
    heard = await check_same(app, url, taps, "UPDATE contacts SET email = 'moved@example.com'", MOVED)
    assert [len(heard[crm]) for crm in CRMS] == [1, 2, 2, 1]
    for crm in ("brevo", "hubspot"):
        crm_account = sandboxes[crm].account
        for record in [*crm_account.contacts.values()]:
            (crm_account.delete if crm == "brevo" else crm_account.archive)(record)
    heard = await check_same(app, url, taps, "UPDATE contacts SET first_name = 'Eve'", {**GONE, "mautic": KNOWN["mautic"]})
    assert [len(heard[crm]) for crm in CRMS] == [2, 2, 2, 1]


async def test_an_id_that_a_twin_in_line_has_is_used_as_a_worker_would(app, url):
    earlier = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET brevo_contact_id = '77'")
    later = await insert(app, "Queued", f" {ADDRESS.upper()}")
    said = told(url)
    assert f"row {later}" in said
    assert f"another row has this address: {earlier} (Queued)" in said
    assert "GET https://api.brevo.com/v3/contacts/77?identifierType=contact_id" in said


async def test_where_nothing_but_the_address_is_known_it_says_that_nothing_more_is_sent(app, url):
    await app.execute("INSERT INTO contacts (email, brevo_contact_id) VALUES ($1, '7')", ADDRESS)
    answer = run(url, "--email", ADDRESS, "--crm", "brevo")
    assert "If Brevo has contact 7, with this address, nothing more is sent: it is delivered." in answer.output


# Keys.


async def test_no_key_is_printed_whatever_its_name_length_or_place(app, url):
    secrets = {
        "HUBSPOT_ACCESS_TOKEN": "pat-eu1",
        "BREVO_API_KEY": "brv-key",  # too short to be searched for in texts
        "MAUTIC_BASE_URL": "https://mautic.example.com",
        "MAUTIC_CLIENT_ID": "the-client",
        "MAUTIC_CLIENT_SECRET": "mau-key",
        "N8N_WEBHOOK_URL": "https://n8n.example.com/webhook/schlüssel%2dof/the path?key=välue",
        "N8N_HEADER_NAME": "X-Any-Name",
        "N8N_HEADER_VALUE": "n8n-key",
        "N8N_SIGNING_SECRET": "sign-it",
    }
    await insert(app)
    await app.execute("UPDATE contacts SET mautic_contact_id = '7'")
    answer = run(url, "--email", ADDRESS, **secrets)
    assert answer.exit_code == 0
    for text in (
        "pat-eu1",
        "brv-key",
        "mau-key",
        "the-client",
        "schl",
        "the%20path",
        "the path",
        "lue",
        "n8n-key",
        "sign-it",
    ):
        assert text not in answer.output.replace("X-Crm-Sync-Signature", "")
    for header in ("Authorization: Bearer ***", "api-key: ***", "X-Any-Name: ***", "X-Crm-Sync-Signature: ***"):
        assert header in answer.output
    assert "POST https://mautic.example.com/oauth/v2/token" in answer.output
    assert "grant_type=client_credentials&client_id=***&client_secret=***" in answer.output
    assert "https://n8n.example.com/***" in answer.output


async def test_basic_authentication_is_masked_too(app, url):
    await insert(app)
    env = {"MAUTIC_BASE_URL": "https://mautic.example.com", "MAUTIC_USERNAME": "ada", "MAUTIC_PASSWORD": "secret-1"}
    answer = run(url, "--email", ADDRESS, "--crm", "mautic", **env)
    assert "Authorization: Basic ***" in answer.output
    assert "secret-1" not in answer.output


async def test_what_is_printed_of_a_person_goes_to_standard_output_only(app, url, sandboxes):
    await app.execute(PERSON)
    async with process(everywhere(url, sandboxes), "preview", "--email", "zoe.ada@example.com") as command:
        code, out, err = await ended(command)
    assert (code, err) == (0, "")
    assert 'Zoë \\"Z\\"' in out


async def test_a_terminal_is_told_nothing_that_it_obeys(app, url):
    await app.execute("INSERT INTO contacts (email, first_name) VALUES ($1, E'\\x1b[31mred\\x07 \\u009b31m \\u202e')", ADDRESS)
    answer = run(url, "--email", ADDRESS, "--crm", "brevo")
    assert not set(answer.output) & set("\x1b\x07\x9b\u202e")
    [request] = requests(answer.output)[""]
    assert request.body["attributes"]["FIRSTNAME"] == "\x1b[31mred\x07 \x9b31m \u202e"


# The state of the contact, and what will happen to it.

IN_LINE = "UPDATE contacts SET brevo_sync_status = 'Queued'"
AS_WORKER = "UPDATE contacts SET brevo_claimed_by = 1, brevo_sync_status = 'Processing', brevo_processing_status = 'Processing'; "


def finished(sync, due="NULL", error="NULL", synced="NULL"):
    """In line, claimed and finished, as by a worker."""
    return (
        f"{IN_LINE}; {AS_WORKER} UPDATE contacts SET brevo_claimed_by = NULL, brevo_sync_status = '{sync}', "
        f"brevo_processing_status = '{sync}', brevo_due_at = {due}, brevo_processing_error = {error}, brevo_attempts = 1, "
        f"brevo_synced_at = {synced}, brevo_contact_id = '42'"
    )


@pytest.mark.parametrize(
    ("steps", "state", "happens"),
    [
        ("SELECT 1", "New: nobody has asked for it here", "nothing, until it is flipped or sent by hand"),
        ("UPDATE contacts SET brevo_sync_status = 'Skipped'", "Skipped: nobody has asked for it", "nothing, until it is flipped"),
        ("UPDATE contacts SET brevo_sync_status = 'Selected'", "Selected: nobody", "nothing, until it is flipped"),
        (IN_LINE, "Queued: in line since", "nothing, until a worker runs: crm-sync run"),
        (
            finished("Queued", "now() + interval '4 minutes'", "'TIMEOUT: slow'"),
            "(in 4 min), after TIMEOUT: slow",
            "nothing, until a worker runs",
        ),
        (finished("Complete", synced="now()"), "Complete; delivered last", "nothing, until it is flipped again"),
        (finished("Error", error="'REJECTED: no'"), "Error: REJECTED: no", "nothing, until it is flipped again"),
        (
            f"SET session_replication_role = replica; {IN_LINE}; RESET session_replication_role",
            "Queued, but no trigger saw the flip",
            "nothing, until a worker runs",
        ),
    ],
)  # fmt: skip
async def test_a_state_is_told_in_words(app, url, steps, state, happens):
    await insert(app)
    for step in steps.split(";"):
        await app.execute(step)
    said = told(url)
    assert f"state {state}" in said or state in said
    assert f"next {happens}" in said
    assert "/v3/contacts" in said


async def test_with_a_worker_it_is_sent_in_its_turn(app, url):
    crm = ScriptedCrm(concurrency=1)
    crm.gate.clear()
    async with running(url, crm):
        for number in range(9):  # more than its capacity
            await insert(app, "Queued", f"{number}@example.com")
        await crm.reached(1)
        await insert(app, "Queued")
        assert "next a worker sends it in its turn" in told(url)
        crm.gate.set()


async def test_in_flight_it_names_the_worker_and_whether_it_lives(app, url):
    crm = ScriptedCrm()
    crm.gate.clear()
    async with running(url, crm):
        await insert(app, "Queued")
        await crm.reached(1)
        worker = await app.fetchrow("SELECT id, pid, host FROM crm_sync.workers")
        said = told(url)
        assert f"in flight with worker {worker['id']} (process {worker['pid']} on {worker['host']}), attempt 1" in said
        assert "next it is being sent" in said
        await app.execute(IN_LINE)
        assert "flipped again meanwhile, so it goes out once more after it" in told(url)
        await app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped'")
        assert "withdrawn meanwhile (Skipped)" in told(url)
        crm.gate.set()
        await until(app, "bool_and(brevo_claimed_by IS NULL) FROM contacts")
    await app.execute(IN_LINE)
    await orphan(app)
    assert "which has died: a running worker puts it back in line" in told(url)


async def test_several_rows_of_one_address_are_named_and_the_one_flipped_last_is_meant(app, url):
    ids = [await insert(app, "Queued", address) for address in (ADDRESS, f"  {ADDRESS.upper()}\t", ADDRESS.title())]
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued', first_name = 'Meant' WHERE id = $1", ids[1])
    await insert(app, "Queued", f"x{ADDRESS}")
    said = told(url)
    assert f"row {ids[1]}" in said
    assert "2 other rows have this address" in said
    assert "Sent is the one above: of those in line it was flipped last" in said
    assert all(f"{one} (Queued)" in said for one in (ids[0], ids[2]))
    assert '"FIRSTNAME": "Meant"' in said


async def test_a_row_that_nobody_has_asked_for_is_not_meant_where_another_is_in_line(app, url):
    in_line = await insert(app, "Queued")
    withdrawn = await insert(app, "Queued")
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Skipped' WHERE id = $1", withdrawn)
    assert f"row {in_line}" in told(url)


async def test_an_address_that_is_none_would_be_rejected_without_a_request(app, url):
    await insert(app, "Queued", "ada@example")
    answer = run(url, "--email", "ada@example", "--crm", "brevo")
    said = " ".join(answer.output.split())
    assert "request none: it would be rejected. INVALID_EMAIL: the email address is malformed" in said
    assert "https://" not in said


async def test_an_address_that_mautic_cannot_hold_would_be_rejected_without_a_request(app, url):
    await insert(app, "New", "josé@example.com")
    env = {"MAUTIC_BASE_URL": "https://mautic.example.com", "MAUTIC_USERNAME": "ada", "MAUTIC_PASSWORD": "secret-1"}
    said = " ".join(run(url, "--email", "JOSÉ@example.com", "--crm", "mautic", **env).output.split())
    assert "request none: it would be rejected. INVALID_EMAIL: email: Mautic would remove characters" in said
    assert "https://" not in said


async def test_a_mapping_that_fails_for_this_contact_is_named(app, url, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "first_name"\nSHARE = "1 / (length(first_name) - 3)"\n')
    let_in(url, MAPPING_FILE=str(mapping))
    await insert(app, "Queued")
    said = told(url, MAPPING_FILE=str(mapping))
    assert "it would be rejected. MAPPING_FAILED: SHARE: division by zero" in said


async def test_a_wrong_mapping_is_told_and_stops_no_other_crm(app, url, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nX = "no_such_column"\n')
    await insert(app)
    answer = run(url, "--email", ADDRESS, MAPPING_FILE=str(mapping), HUBSPOT_ACCESS_TOKEN="pat-eu1-0123")
    assert answer.exit_code == 1
    assert "mapping of brevo.X" in " ".join(answer.output.split())
    assert "POST https://api.hubapi.com/crm/v3/objects/contacts/batch/upsert" in answer.output


async def test_without_credentials_there_is_no_lane_and_no_request(app, url):
    await insert(app, "Queued")
    said = told(url, BREVO_API_KEY="")
    assert "next nothing: there are no credentials in these settings" in said
    assert "https://" not in said


@pytest.mark.parametrize(
    ("change", "lane", "happens"),
    [
        (
            "held_since = now() - interval '4 minutes', held_reason = 'key rotation'",
            "(4 min): key rotation",
            "nothing, until the CRM is resumed: crm-sync resume brevo",
        ),
        (
            "breaker = 'open', breaker_reason = 'TIMEOUT: slow', openings = 2, next_probe_at = now() + interval '1 minute'",
            "TIMEOUT: slow; next probe in",
            "a worker sends it once the CRM answers again",
        ),
    ],
)
async def test_a_lane_that_may_not_send_is_told_with_its_reason(app, url, change, lane, happens):
    await app.execute(f"UPDATE crm_sync.lanes SET {change} WHERE crm = 'brevo'")
    async with running(url, ScriptedCrm()):
        await until(app, "count(*) = 1 FROM crm_sync.workers")
        await insert(app, "Queued")
        said = told(url)
    assert lane in said
    assert f"next {happens}" in said


# Input.


@pytest.mark.parametrize("address", ["nobody@example.com", "ada@example.com'--", "%", "vada@example.com"])
async def test_an_address_that_nobody_has_is_said_so(app, url, address):
    await insert(app)
    answer = run(url, "--email", address)
    assert (answer.exit_code, answer.output) == (1, f"No contact has the address {address}.\n")


async def test_an_address_that_is_no_text_is_nobodys(url):
    assert run(url, "--email", "ada\udcff@example.com").exit_code == 1


async def test_an_unknown_crm_is_a_usage_error_that_names_those_there_are(url):
    answer = run(url, "--email", ADDRESS, "--crm", "pipedrive")
    assert answer.exit_code == 2
    assert "pipedrive is not installed" in answer.output
    assert "hubspot, brevo, mautic, n8n" in answer.output


async def test_a_crm_is_known_however_it_is_written(app, url):
    await insert(app)
    assert run(url, "--email", ADDRESS, "--crm", " BREVO").exit_code == 0


async def test_every_line_but_urls_and_values_fits_the_terminal(app, url, sandboxes):
    await insert(app)
    out = await printed(everywhere(url, sandboxes), "--email", ADDRESS)
    assert [line for line in out.splitlines() if len(line) > 80 and "http" not in line] == []


async def test_a_contact_that_is_named_by_its_key_is_shown_alone(app, url):
    await insert(app, "Queued")
    meant = await insert(app, "Queued", "grace@example.com")
    answer = run(url, "--key", str(meant).upper(), "--crm", "brevo")
    assert answer.exit_code == 0, (answer.output, answer.exception)
    assert "grace@example.com" in answer.output
    assert ADDRESS not in answer.output


@pytest.mark.parametrize("column", ["flipped_at", "synced_at", "due_at"])
@pytest.mark.parametrize("time", ["0044-03-15 BC", "infinity", "-infinity", "294276-12-31"])
async def test_a_time_that_nobody_can_mean_is_no_traceback(app, url, column, time):
    """An application that may insert rows can write one."""
    async with app.transaction():
        await app.execute("SET LOCAL session_replication_role = replica")
        await app.execute(f"INSERT INTO contacts (email, first_name, brevo_{column}) VALUES ($1, 'Ada', '{time}')", ADDRESS)
    assert "BREVO" in told(url).upper()
