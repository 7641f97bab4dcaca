"""What `crm-sync check` prints: a line for each check; a fault of one CRM does not stop the checks of the others."""

import re

import asyncpg
import pytest

from crm_sync.postgres import locks
from crm_sync.reports.lane_label import NOT_DELIVERING
from crm_sync.sandbox.server import Answer, Fault, asks_for_fields
from tests.process import KEY, ended, environment, process
from tests.roles import WORKER
from tests.steps import insert
from tests.strangers import STRANGER, stranger


async def checked(env):
    async with process(env, "check") as running:
        code, out, err = await ended(running)
    assert "Traceback" not in err
    # A line of the table begins with its verdict.
    lines = re.split(r"\n(?=ok|wrong|skipped|warning)", out)
    return code, [" ".join(line.split()) for line in lines]


async def test_each_lane_that_is_wrong_has_a_line_and_the_others_are_checked(app, url, brevo, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "first_name"\n[hubspot]\nfirstname = "nothing"\n')
    await app.execute(f"REVOKE UPDATE (mautic_synced_at) ON contacts FROM {WORKER}")
    wrong = {
        "HUBSPOT_ACCESS_TOKEN": "key",
        "HUBSPOT_BASE_URL": brevo.url,
        "MAUTIC_BASE_URL": brevo.url,
        "MAUTIC_USERNAME": "ada",
        "MAUTIC_PASSWORD": "secret",
        "N8N_WEBHOOK_URL": "http://example.com/webhook/x",
        "MAPPING_FILE": str(mapping),
    }
    code, lines = await checked(environment(url, brevo, **wrong))
    assert code == 1
    found = [line for line in lines if line.startswith("wrong")]
    assert any(re.match(r"wrong hubspot mapping .*firstname.*nothing", line) for line in found), found
    assert any(re.match(r"wrong mautic mapping .*lacks UPDATE on .* mautic_synced_at: .*crm-sync grants", line) for line in found)
    assert any(re.match(r"wrong n8n settings N8N_WEBHOOK_URL", line) for line in found), found
    assert any(line.startswith("ok brevo mapping") for line in lines)
    assert any(line.startswith("ok brevo credentials") for line in lines), lines


async def test_a_key_that_is_refused_is_named(url, brevo):
    code, lines = await checked(environment(url, brevo, BREVO_API_KEY=f"{KEY}-no-more"))
    assert code == 1
    assert any(line.startswith("wrong brevo credentials") and line.endswith("check BREVO_API_KEY") for line in lines), lines


async def test_a_superuser_is_told_that_a_worker_needs_less(url, brevo):
    code, lines = await checked(environment(url, brevo, owner=True))
    assert code == 0
    (told,) = [line for line in lines if line.startswith("ok rights")]
    assert "postgres is a superuser, which may do anything" in told
    assert "`crm-sync grants ROLE`" in told
    _, lines = await checked(environment(url, brevo))
    assert "ok rights this role may run a worker" in lines


async def test_a_role_that_is_set_in_place_of_the_one_that_logs_in_is_told(app, url, brevo):
    name, other = url.rpartition("/")[2], f"crm_sync_other_{WORKER.rpartition('_')[2]}"
    await app.execute(
        f"CREATE ROLE {other}; GRANT {other} TO {WORKER}; ALTER ROLE {WORKER} IN DATABASE {name} SET role = '{other}'"
    )
    try:
        code, lines = await checked(environment(url, brevo))
    finally:
        await app.execute(f"ALTER ROLE {WORKER} IN DATABASE {name} RESET role; DROP ROLE {other}")
    assert code == 1
    (told,) = [line for line in lines if line.startswith("ok database")]
    assert f"{WORKER} acts as {other}, whose rights count: ALTER ROLE ... SET role has that effect" in told


@pytest.mark.parametrize(
    ("taken", "write"),
    [
        ("INSERT ON crm_sync.brevo_line", "UPDATE contacts SET brevo_sync_status = 'Queued'"),
        ("INSERT ON crm_sync.tombstones", "DELETE FROM contacts"),
        ("USAGE ON SCHEMA crm_sync", "DELETE FROM contacts"),
    ],
)
async def test_rights_that_the_owner_of_the_triggers_lost_are_told_with_what_gives_them_back(app, url, brevo, taken, write):
    owner = f"crm_sync_owner_{WORKER.rpartition('_')[2]}"
    await app.execute("INSERT INTO contacts (email, brevo_contact_id) VALUES ('ada@example.com', '7')")
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    await app.execute(f"CREATE ROLE {owner}")
    try:
        for case in ("flip", "placed", "deleted"):
            await app.execute(f"ALTER FUNCTION crm_sync.brevo_{case}() OWNER TO {owner}")
        await app.execute(f"GRANT USAGE ON SCHEMA crm_sync, public TO {owner}; GRANT ALL ON contacts TO {owner}")
        await app.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA crm_sync TO {owner}")
        assert (await checked(environment(url, brevo)))[0] == 0
        await app.execute(f"REVOKE {taken} FROM {owner}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(write)
        code, lines = await checked(environment(url, brevo))
        [told] = [line for line in lines if line.startswith("wrong brevo triggers")]
        assert code == 1
        assert f"the trigger functions run as {owner}, which lacks rights" in told
        await app.execute(told.partition("lacks rights: ")[2])
        await app.execute(write)
        assert (await checked(environment(url, brevo)))[0] == 0
    finally:
        await app.execute(f"REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}; DROP ROLE {owner}")


@pytest.mark.parametrize(
    ("index", "said"),
    [(None, "no index begins with the key id, so"), ("(id)", "nothing keeps two contacts from having the same id now")],
)
async def test_the_index_of_the_key_that_was_dropped_is_told(app, url, brevo, index, said):
    await app.execute("ALTER TABLE contacts DROP CONSTRAINT contacts_pkey CASCADE")
    if index:
        await app.execute(f"CREATE INDEX ON contacts {index}")
    code, lines = await checked(environment(url, brevo))
    [told] = [line for line in lines if line.startswith("warning contacts table")]
    assert code == 0
    assert said in told
    await app.execute(told.rpartition(": ")[2].replace("CONCURRENTLY", ""))
    _, lines = await checked(environment(url, brevo))
    assert not [line for line in lines if line.startswith("warning contacts table")]


async def test_names_that_have_no_effect_are_told(url, brevo, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brvo]\nFIRSTNAME = "first_name"\n')
    code, lines = await checked(environment(url, brevo, CONTACT_TABLE="x", BREVO_APIKEY="x", MAPPING_FILE=str(mapping)))
    assert code == 0
    told = [line for line in lines if line.startswith("warning")]
    for name, nearest in (("CONTACT_TABLE", "CONTACTS_TABLE"), ("BREVO_APIKEY", "BREVO_API_KEY"), ("[brvo]", "[brevo]")):
        assert any(f"{name} " in line and f"{nearest} may be meant" in line for line in told), told


async def test_a_crm_without_columns_is_wrong_with_the_command_that_adds_them(app, url, brevo):
    await app.execute("SELECT crm_sync.remove_crm('brevo')")
    code, lines = await checked(environment(url, brevo))
    assert code == 1
    assert any(line.startswith("wrong brevo") and "crm-sync adopt --crm brevo" in line for line in lines), lines


SWAP = (
    "CREATE TABLE contacts_new (LIKE contacts INCLUDING ALL); INSERT INTO contacts_new SELECT * FROM contacts;"
    "ALTER TABLE contacts RENAME TO contacts_old; ALTER TABLE contacts_new RENAME TO contacts"
)


async def test_a_table_that_was_swapped_for_the_adopted_one_is_wrong(app, url, brevo):
    await app.execute(SWAP)
    code, lines = await checked(environment(url, brevo))
    assert code == 1
    told = [line for line in lines if line.startswith("wrong")]
    assert len(told) == 1
    assert "is called public.contacts_old now, and public.contacts is another one" in told[0]
    assert "Run `crm-sync adopt`" in told[0]


async def test_a_copy_that_is_not_in_its_place_is_told(app, url, brevo):
    await app.execute("CREATE TABLE contacts_new (LIKE contacts INCLUDING ALL)")
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    (told,) = [line for line in lines if line.startswith("warning contacts table")]
    assert "public.contacts_new has columns of crm-sync too, but the adopted table is public.contacts" in told


async def test_a_rule_by_which_nothing_is_deleted_is_told_where_deletions_are_to_be_followed(app, url, brevo):
    await app.execute(
        "CREATE RULE soft AS ON DELETE TO contacts DO INSTEAD UPDATE contacts SET first_name = 'gone' WHERE id = OLD.id"
    )
    _, lines = await checked(environment(url, brevo))
    assert not [line for line in lines if line.startswith("warning")]
    await app.execute("SELECT crm_sync.set_on_delete('brevo', 'delete')")
    _, lines = await checked(environment(url, brevo))
    (told,) = [line for line in lines if line.startswith("warning contacts table")]
    assert "because of the rule soft, a DELETE deletes no row, so no record is deleted in brevo" in told


async def test_who_holds_locks_of_crm_sync_and_is_no_worker_is_named(url, brevo):
    async with stranger(url) as eve:
        await eve.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)
        pid = eve.get_server_pid()
        code, lines = await checked(environment(url, brevo))
    assert code == 0
    assert any(line.startswith("warning locks") and f"pid {pid} (role {STRANGER}," in line for line in lines), lines


# The rights from before a migration: new features need some of their own.

OF_BEFORE = f"""
REVOKE ALL ON crm_sync.permits, crm_sync.living_workers, crm_sync.brevo_line FROM {WORKER};
REVOKE SELECT (backend_pid), INSERT (backend_pid), UPDATE (backend_pid) ON crm_sync.workers FROM {WORKER}
"""
NAMED = f"the role {WORKER} lacks SELECT on crm_sync.workers backend_pid, INSERT on crm_sync.workers backend_pid, "
ADVICE = f"let the owner of the table run what `crm-sync grants {WORKER}` prints"


async def test_it_and_a_worker_with_the_rights_of_before_say_which_are_missing_and_who_gives_them(app, url, brevo):
    await app.execute(OF_BEFORE)
    env = environment(url, brevo)
    code, lines = await checked(env)
    assert code == 1
    assert lines[-1].startswith(f"wrong rights {NAMED}")
    assert lines[-1].endswith(ADVICE)
    async with process(env) as worker:
        code, _, err = await ended(worker)
    assert code == 78
    assert NAMED in err
    assert ADVICE in err


async def test_migrate_names_the_roles_that_need_their_rights_again(app, url):
    await app.execute("DROP TRIGGER crm_sync_brevo_key ON contacts")
    said = []
    for _ in range(2):
        async with process(environment(url, owner=True), "migrate") as command:
            said.append((await ended(command))[1])
    assert f"run what `crm-sync grants {WORKER}` prints" in said[0]
    assert "grants" not in said[1], "nothing was done"


async def test_it_says_whether_anybody_is_told_of_alerts(url, brevo):
    _, lines = await checked(environment(url, brevo))
    assert any(line.startswith("skipped alerts no channel is set") for line in lines), lines
    _, lines = await checked(environment(url, brevo, ALERT_COMMAND="notify", ALERT_PING_URL="https://hc.example.com/uuid"))
    assert any(line.startswith("ok alerts ALERT_COMMAND, ALERT_PING_URL") for line in lines), lines
    code, lines = await checked(environment(url, brevo, ALERT_WEBHOOK_URL="http://example.com/hook"))
    assert code == 1
    assert any(line.startswith("wrong alerts ALERT_WEBHOOK_URL: expected https") for line in lines), lines
    assert any(line.startswith("ok brevo mapping") for line in lines), lines


async def test_rights_that_only_alerts_need_stop_nothing_and_are_named(app, url, brevo):
    await app.execute(f"REVOKE INSERT ON crm_sync.alert_codes FROM {WORKER}")
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    named = f"warning alerts there are none: the role {WORKER} lacks INSERT on crm_sync.alert_codes"
    assert any(line.startswith(named) for line in lines), lines


# The fields of each CRM.


async def test_each_field_that_can_never_arrive_has_a_line_and_the_command_fails(app, url, brevo, tmp_path):
    await app.execute("ALTER TABLE contacts ADD COLUMN seen_at timestamptz, ADD COLUMN score integer")
    await app.execute(f"GRANT SELECT ON contacts TO {WORKER}")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nFIRSTNAME = "first_name"\nPLAN = "first_name"\nSEEN = "seen_at"\nLASTNAME = "score"\n')
    brevo.account.attributes["SEEN"] = "date"
    code, lines = await checked(environment(url, brevo, MAPPING_FILE=str(mapping)))
    assert code == 1
    plan, seen, lastname = [line for line in lines if "brevo field" in line]
    assert plan == "wrong brevo field PLAN Brevo has no attribute PLAN: create it there, or remove it from the mapping"
    assert "SEEN is a timestamp with time zone in the mapping, and a date in Brevo, which does not accept it" in seen
    assert "say which day is meant, ((...) AT TIME ZONE 'Europe/Berlin')::date" in seen
    assert (
        "LASTNAME is an integer in the mapping, and a text in Brevo, which does not accept it: cast it in the mapping" in lastname
    )


async def test_a_label_of_an_enum_that_is_no_option_is_told_with_the_options(app, url, brevo, tmp_path):
    await app.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'angry'); ALTER TABLE contacts ADD COLUMN mood mood, ADD COLUMN moods mood[]"
    )
    await app.execute(f"GRANT SELECT ON contacts TO {WORKER}")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nMOOD = "mood"\nMOODS = "moods"\n')
    brevo.account.attributes |= {"MOOD": "category", "MOODS": "multiple-choice"}
    brevo.account.options |= {"MOOD": ["sad"], "MOODS": ["sad", "angry"]}
    code, lines = await checked(environment(url, brevo, MAPPING_FILE=str(mapping)))
    assert code == 1
    (told,) = [line for line in lines if "brevo field" in line]
    assert "MOOD (public.mood) can be angry, which is not an option of the attribute in Brevo. It has sad, 1:" in told


async def test_an_option_that_a_crm_cannot_keep_is_wrong_with_field_and_crm(app, url, brevo, tmp_path):
    mapping = tmp_path / "mapping.toml"
    field = '{ sql = "first_name", set = "if_empty" }'
    mapping.write_text(f"[brevo]\nFIRSTNAME = {field}\n[hubspot]\nfirstname = {field}\n")
    hubspot = {"HUBSPOT_ACCESS_TOKEN": "pat-eu1-0123", "HUBSPOT_BASE_URL": brevo.url}
    code, lines = await checked(environment(url, brevo, MAPPING_FILE=str(mapping), **hubspot))
    assert code == 1
    assert any("ok brevo mapping" in line and "sent only where the CRM has no value: FIRSTNAME" in line for line in lines), lines
    (wrong,) = [line for line in lines if "hubspot mapping" in line]
    assert wrong.startswith('wrong hubspot mapping MAPPING_FILE: hubspot.firstname: set = "if_empty" is not possible at hubspot')


async def test_fields_that_all_fit_and_fields_that_cannot_be_asked_for_fail_nothing(url, brevo):
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    assert any(
        re.match(r"ok brevo fields the account has all \d+, and accepts the values sent to them", line) for line in lines
    ), lines
    brevo.standing_faults.append(Fault(matches=asks_for_fields, answer=Answer(403, b"<html>no")))
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    assert any(line.startswith("warning brevo fields they cannot be compared with the mapping") for line in lines), lines


@pytest.mark.parametrize(
    ("section", "setting", "line"),
    [
        (
            'FIRSTNAME = "first_name"',
            {"BREVO_MATCH": "ext_id"},
            "BREVO_MATCH: the mapping of brevo does not send EXT_ID, by which",
        ),
        (
            'emailBlacklisted = "city"',
            {},
            "mapping of brevo.emailBlacklisted: it must be a boolean, and is character varying: cast it",
        ),
        ('LASTNAME = "last_name"\nlastname = "city"', {}, "MAPPING_FILE: brevo.LASTNAME and brevo.lastname are the same field"),
        (
            'listIds = { sql = "7", empty = "clear" }',
            {},
            "MAPPING_FILE: brevo.listIds: consent, lists and tags cannot be cleared",
        ),
    ],
)
async def test_what_the_settings_and_the_mapping_say_together_is_checked_without_asking_the_crm(
    url, tmp_path, section, setting, line
):
    file = tmp_path / "mapping.toml"
    file.write_text(f"[brevo]\n{section}\n")
    settings = {"BREVO_API_KEY": KEY, "BREVO_BASE_URL": "http://127.0.0.1:1", "MAPPING_FILE": str(file), **setting}
    code, lines = await checked(environment(url, **settings))
    [found] = [one for one in lines if one.startswith("wrong brevo mapping")]
    assert (code, found.startswith(f"wrong brevo mapping {line}")) == (1, True), found


# CRMs without credentials.


def of_crm(lines, crm="brevo"):
    return next(line for line in lines if line.split()[1] == crm)


async def test_a_crm_without_credentials_is_skipped_where_another_has_them_and_nothing_waits(app, url, brevo):
    await app.execute("INSERT INTO contacts (email, hubspot_sync_status) VALUES ('a', 'New'), ('b', 'Skipped')")
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    assert of_crm(lines, "hubspot") == (
        "skipped hubspot no credentials (HUBSPOT_ACCESS_TOKEN not set), so nothing is sent there from here: its contacts wait"
    )
    assert "ok settings complete; with credentials for brevo" in lines


async def test_a_role_that_may_not_read_what_workers_have_is_told_all_the_same(app, url, brevo):
    await app.execute(f"REVOKE SELECT ON crm_sync.pace FROM {WORKER}")
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    assert of_crm(lines, "hubspot").startswith("skipped hubspot")


async def test_without_any_credentials_each_crm_is_a_warning_with_its_settings(url):
    code, lines = await checked(environment(url, MAUTIC_USERNAME="ada"))
    assert code == (1 if any(line.startswith("wrong") for line in lines) else 0)
    assert of_crm(lines).startswith(
        "warning brevo no credentials (BREVO_API_KEY not set), so nothing is sent there from here. No CRM has credentials"
    )
    assert "ok settings complete; with credentials for no CRM" in lines


@pytest.mark.parametrize("due", ["now()", "now() + interval '1 h'"])
async def test_contacts_in_line_for_a_crm_without_credentials_are_a_warning(app, url, brevo, due):
    await app.execute("INSERT INTO contacts (email, hubspot_sync_status) VALUES ('a', 'Queued')")
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        f"WITH moved AS (UPDATE contacts SET hubspot_due_at = {due} RETURNING id, hubspot_due_at) "
        "INSERT INTO crm_sync.hubspot_line (due_at, key) SELECT hubspot_due_at, id FROM moved"
    )
    code, lines = await checked(environment(url, brevo))
    assert code == 0
    assert of_crm(lines, "hubspot").startswith(
        "warning hubspot no credentials (HUBSPOT_ACCESS_TOKEN not set), so nothing is sent there from here"
    )
    assert of_crm(lines, "hubspot").endswith("nor by any other worker, but contacts are in line for it")


async def test_a_lane_that_another_living_worker_has_is_no_warning(app, other_app, url):
    await app.execute("INSERT INTO contacts (email, brevo_sync_status) VALUES ('a', 'Queued')")
    await app.execute("INSERT INTO crm_sync.workers (id, host, pid, version) VALUES (7, 'there', 1, '0')")
    await app.execute(
        "INSERT INTO crm_sync.progress (crm, worker, at, delivered, limits, claims, refused) "
        "VALUES ('brevo', 7, now(), '{}', 'none', '{}', '{}')"
    )
    _, lines = await checked(environment(url))
    assert of_crm(lines).startswith("warning brevo"), "that worker is dead"
    await other_app.execute(f"SELECT pg_advisory_lock({locks.WORKER}, 7)")
    code, lines = await checked(environment(url))
    assert code == 0
    assert (
        of_crm(lines)
        == "skipped brevo no credentials (BREVO_API_KEY not set), so nothing is sent there from here; another worker does that"
    )
    assert of_crm(lines, "hubspot").startswith("skipped hubspot"), "each worker may have one CRM"


@pytest.mark.parametrize("arguments", [("check",), ("run",), ("status",)])
async def test_in_a_database_without_crm_sync_the_command_that_installs_it_is_named(empty_url, brevo, arguments):
    async with process(environment(empty_url, brevo, DATABASE_URL=empty_url), *arguments) as running:
        code, out, err = await ended(running)
    said = " ".join((out + err).split())
    assert code != 0
    assert "run `crm-sync adopt`" in said
    assert "--plan" in said


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("ALTER brevo_contact_id TYPE varchar(5)", "brevo_contact_id (character varying(5)) is too short"),
        ("ALTER brevo_contact_id TYPE smallint USING NULL", "brevo_contact_id (smallint) is too small"),
        ("ALTER brevo_contact_id TYPE digits", "the constraint digits_only applies to brevo_contact_id"),
        ("ADD CONSTRAINT taken CHECK (brevo_contact_id <> 'taken')", "the constraint taken applies to brevo_contact_id"),
        ("ALTER last_failed_crm TYPE varchar(4)", "last_failed_crm (character varying(4)) is too short"),
    ],
)
async def test_a_column_that_refuses_what_a_worker_writes_is_told(app, url, brevo, change, note):
    await app.execute("CREATE DOMAIN digits AS varchar CONSTRAINT digits_only CHECK (VALUE > '')")
    trigger = await app.fetchval("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'crm_sync_brevo_update'")
    await app.execute(f"DROP TRIGGER crm_sync_brevo_update ON contacts; ALTER TABLE contacts {change}; {trigger}")
    _, lines = await checked(environment(url, brevo))
    assert any(line.startswith("warning contacts table") and note in line for line in lines), "\n".join(lines)


async def test_contacts_that_are_ready_and_not_delivered_are_told_in_the_words_of_status(app, url, brevo):
    await app.execute(
        "INSERT INTO crm_sync.workers (id, host, pid, version, backend_pid) VALUES (1, 'vm', 1, '0', pg_backend_pid())"
    )
    await app.execute("SELECT pg_advisory_lock($1, 1)", locks.WORKER)
    await insert(app, "Queued")
    await app.execute("SET session_replication_role = replica")
    await app.execute(
        "UPDATE contacts SET brevo_flipped_at = brevo_flipped_at - interval '1 h', brevo_due_at = brevo_due_at - interval '1 h'"
    )
    await app.execute("UPDATE crm_sync.brevo_line SET due_at = due_at - interval '1 h'")
    _, lines = await checked(environment(url, brevo))
    assert any(line.startswith(f"warning brevo contacts {NOT_DELIVERING}") for line in lines), lines
