"""What opts in again somebody who has unsubscribed in the CRM, with `subscribe = true`: every delivery, but nothing that `compare
--flip` queues.
"""

import json

import pytest

from crm_sync.sandbox.hubspot.beside import SCOPES
from crm_sync.sandbox.process import settings
from crm_sync.sandbox.server import Answer, Fault
from tests.commands.test_compare import change, deliver, sandbox_of, told
from tests.harness import until
from tests.process import ended, environment, process
from tests.roles import let_in
from tests.tiers import slow

ADA, BOB = "ada@example.com", "bob@example.com"
NEWS = 7
LAST_NAME = {"brevo": "LASTNAME", "hubspot": "lastname", "mautic": "lastname"}
CONSENT = {"brevo": "emailBlacklisted", "hubspot": "subscribeTo", "mautic": "doNotContact"}
# As a literal, as an expression, and as JSON for a channel.
OPTING_IN = [
    ("brevo", "false"),
    ("brevo", "first_name IS NULL"),
    ("hubspot", "ARRAY[7]"),
    ("mautic", "false"),
    ("mautic", """'[{"channel": "email", "reason": 0}]'::jsonb"""),
]


def unsubscribe(crm, sandbox, email):
    match crm:
        case "brevo":
            _record(sandbox, email).is_blocklisted = True
        case "hubspot":
            sandbox.account.statuses[email, NEWS] = "UNSUBSCRIBED"
        case _:
            _record(sandbox, email).closed["email"] = 1


def is_out(crm, sandbox, email):
    match crm:
        case "brevo":
            return _record(sandbox, email).is_blocklisted
        case "hubspot":
            return sandbox.account.statuses.get((email, NEWS)) == "UNSUBSCRIBED"
    return bool(_record(sandbox, email).closed)


def _record(sandbox, email):
    [found] = [
        one for one in sandbox.contacts.values() if email in (one.values["email"] if hasattr(one, "values") else one.email)
    ]
    return found


@pytest.fixture
def mapped(tmp_path):
    def mapping(crm, sql):
        path = tmp_path / "mapping.toml"
        consent = f"{{ sql = {json.dumps(sql)}, subscribe = true }}"
        path.write_text(f'[{crm}]\n{LAST_NAME[crm]} = "last_name"\n{CONSENT[crm]} = {consent}\n')
        return {"MAPPING_FILE": str(path)}

    return mapping


@slow
@pytest.mark.parametrize("one_field", [False, True])
@pytest.mark.parametrize("case", OPTING_IN, ids=" ".join)
async def test_who_unsubscribed_in_the_crm_is_not_queued_whatever_else_differs(app, url, mapped, case, one_field):
    crm, sql = case
    async with sandbox_of(crm) as sandbox:
        if crm == "hubspot":
            sandbox.scopes |= {*SCOPES.values()}
            sandbox.account.subscriptions = {NEWS}
        env = environment(url, **mapped(crm, sql)) | settings(crm, sandbox.url)
        people = [(ADA, "Ada", "Lovelace"), (BOB, "Bob", "Babbage")]
        await app.executemany("INSERT INTO contacts (email, first_name, last_name) VALUES ($1, $2, $3)", people)
        await deliver(app, env, crm)
        assert not is_out(crm, sandbox, ADA)
        unsubscribe(crm, sandbox, ADA)
        for record in sandbox.contacts.values():
            change(crm, record, **{LAST_NAME[crm]: "Byron"})
        options = ("--flip", *(("--field", LAST_NAME[crm]) if one_field else ()))
        code, out, err = await told(env, crm, *options)
        assert (code, err) == (1, "")
        if crm == "hubspot":  # which does not show subscriptions with a contact, so that Bob may have opted out too
            assert "2 compared, 2 different" in out
            assert "2 of those that differ have a row that opts them in" in out
            assert "Queued: 0 of 2." in out
        else:
            key = await app.fetchval("SELECT id FROM contacts WHERE email = $1", ADA)
            assert f"2 compared, 2 different, 0 unknown to {crm}, 1 opted out, 1 queued." in out
            assert f"Opted out in {crm}, by key: {key}. Their rows opt them in" in out
            assert "Queued: 1 of 2." in out
        async with process(env):
            await until(app, f"bool_and({crm}_sync_status = 'Complete') FROM contacts")
        assert is_out(crm, sandbox, ADA)


@slow
async def test_scripts_are_told_apart_from_other_drift(app, url, mapped, brevo):
    env = environment(url, brevo, **mapped("brevo", "false"))
    await deliver(app, env, count=2)
    unsubscribe("brevo", brevo, "1@example.com")
    code, out, _ = await told(env, "brevo", "--json", "--flip")
    said = json.loads(out)
    key = await app.fetchval("SELECT id::text FROM contacts WHERE email = '1@example.com'")
    assert (code, said["differing"], said["flipped"], said["opted_out"], said["perhaps_opted_out"]) == (1, 1, 0, 1, 0)
    assert said["opted_out_examples"] == [key]


@slow
async def test_a_row_that_says_nothing_of_consent_is_queued(app, url, mapped, brevo):
    """It opts nobody in: the opt-out stays as it is."""
    env = environment(url, brevo, **mapped("brevo", "NULL::boolean"))
    await deliver(app, env, count=1)
    unsubscribe("brevo", brevo, "1@example.com")
    change("brevo", _record(brevo, "1@example.com"), LASTNAME="Byron")
    assert "1 different, 0 unknown to brevo, 1 queued." in (await told(env, "brevo", "--flip"))[1]
    async with process(env):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert is_out("brevo", brevo, "1@example.com")
    assert _record(brevo, "1@example.com").attributes["LASTNAME"] == "Lovelace"


# The row decides at every delivery.


def refusing():
    """It refuses this one contact."""
    metadata = {"metadata": {"duplicate_identifiers": ["email"]}}
    taken = Answer(
        400, {"code": "duplicate_parameter", "message": "email is already associated with another Contact", **metadata}
    )
    return Fault(matches=lambda call: call.method in ("POST", "PUT"), answer=taken)


@slow
@pytest.mark.parametrize("command", ["retry", "sync"])
async def test_what_a_person_sends_again_opts_in_as_the_row_says(app, url, mapped, brevo, command):
    env = environment(url, brevo, **mapped("brevo", "false"))
    await deliver(app, env, count=1)
    unsubscribe("brevo", brevo, "1@example.com")
    brevo.standing_faults.append(refusing())
    await deliver(app, env)
    assert is_out("brevo", brevo, "1@example.com")
    brevo.standing_faults.clear()
    arguments = {"retry": ("--crm", "brevo", "--yes"), "sync": ("--email", "1@example.com", "--crm", "brevo")}[command]
    async with process(env, command, *arguments) as running:
        assert (await ended(running))[0] == 0
    async with process(env):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert not is_out("brevo", brevo, "1@example.com")


@slow
@pytest.mark.parametrize("is_new", [True, False])
async def test_what_was_held_up_is_sent_as_the_row_says_by_then(app, url, mapped, brevo, is_new):
    """The opt-in of the manual, which is new for a time only."""
    sql = "CASE WHEN opted_out THEN true WHEN opted_in_at > now() - interval '1 day' THEN false END"
    await app.execute("ALTER TABLE contacts ADD opted_out boolean, ADD opted_in_at timestamptz DEFAULT now()")
    columns = mapped("brevo", sql)
    let_in(url, **columns)
    env = environment(url, brevo, **columns)
    await deliver(app, env, count=1)
    # While no worker runs.
    await app.execute("UPDATE contacts SET brevo_sync_status = 'Queued'")
    unsubscribe("brevo", brevo, "1@example.com")
    await app.execute("UPDATE contacts SET opted_in_at = now() - interval '2 days' WHERE NOT $1", is_new)
    async with process(env):
        await until(app, "bool_and(brevo_sync_status = 'Complete') FROM contacts")
    assert is_out("brevo", brevo, "1@example.com") is not is_new
