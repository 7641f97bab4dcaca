"""No key and no personal data is in the log, the rows, the metrics or the output of commands, whatever is quoted."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import structlog
from structlog.testing import LogCapture

from crm_sync import log
from crm_sync.configuration import Configuration
from crm_sync.daemon.daemon import Daemon
from crm_sync.environment import Environment
from crm_sync.sandbox import credentials
from crm_sync.sandbox.__main__ import UNLIMITED
from crm_sync.sandbox.postgres import free_port
from crm_sync.sandbox.process import CRMS, settings
from crm_sync.sandbox.server import Answer, Call, Fault, Sandbox
from crm_sync.settings import Settings
from tests.harness import TIMEOUT_S, until, working
from tests.process import Process, ended, environment, process
from tests.roles import PASSWORD, as_worker
from tests.telling.collector import collecting
from tests.telling.receiver import receiving
from tests.telling.scrape import answered, get
from tests.telling.test_alert_conditions import QUICK
from tests.tiers import one_quick, slow

SIGNING_SECRET = "canary-of-the-signature"
BASIC = b64encode(f"{credentials.MAUTIC_USERNAME}:{credentials.MAUTIC_PASSWORD}".encode()).decode()
# A CRM can quote what it was sent: its own keys, not those of others.
SENT_KEYS = {"hubspot": credentials.HUBSPOT_TOKEN, "brevo": credentials.BREVO_KEY, "mautic": BASIC, "n8n": SIGNING_SECRET}
KEYS = (*SENT_KEYS.values(), credentials.MAUTIC_PASSWORD, PASSWORD)
PERSON = {
    "email": "canary.person@example.com",
    "first_name": "Canáryfirst",
    "last_name": "O'Canarylast",
    "phone": "+33639981111",
}
# In any case and encoding, this much would identify a person.
MARKS = ("canary", "can%c3%a1ry", "can\\u00e1ry", "canáry", "can&aacute;ry", "639981111", *map(str.lower, KEYS))

SAID = re.compile(r"contact_failed|breaker_opened|lane_paused|contacts_finished")
QUOTED = f"{', '.join(PERSON.values())} is not valid "
JSON, HTML = {"Content-Type": "application/json"}, {"Content-Type": "text/html"}


def page(text: str) -> bytes:
    return f"<!DOCTYPE html><html><body><h1>Whoops</h1>{text}</body></html>".encode()


def debug(text: str) -> bytes:
    """A page that shows the request as it came: the address in the URL, the body as JSON."""
    asked = f"GET /contacts?email={quote_plus(PERSON['email'])} {json.dumps(PERSON)}"
    return page(f"{asked} {text}" if QUOTED in text else text)


def message(text: str) -> dict[str, object]:
    return {"message": text, "code": "invalid_parameter", "category": "VALIDATION_ERROR", "error": text}


ANSWERS: Mapping[str, Callable[[str], Answer]] = {
    "400 in JSON": lambda text: Answer(400, message(text)),
    "400 in JSON of another make": lambda text: Answer(400, {"detail": [text]}),
    "400 with a page": lambda text: Answer(400, page(text), HTML),
    "401 in JSON": lambda text: Answer(401, message(text)),
    "403 with a page": lambda text: Answer(403, page(text), HTML),
    "409 in JSON": lambda text: Answer(409, {**message(text), "category": "CONFLICT"}),
    "429 in JSON": lambda text: Answer(429, message(text), {"Retry-After": "1"}),
    "500 with a page": lambda text: Answer(500, page(text), HTML),
    "500 with a page that tells the request": lambda text: Answer(500, debug(text), HTML),
    "500 with a page that quotes again and again": lambda text: Answer(500, page(text * 30), HTML),
    "200 with a page": lambda text: Answer(200, page(text), HTML),
    "302 with the key in its Location": lambda text: Answer(
        302, page(text), {"Location": f"https://example.com/?{quote_plus(text)}"}
    ),
    "an id of the request that is a key": lambda text: Answer(401, message("no"), {"X-Request-Id": text.split()[-1]}),
}


COMMANDS = (("status",), ("status", "--json"), ("retry", "--preview"), ("check",))


@pytest.fixture
async def sandboxes():
    async with AsyncExitStack() as stack:
        yield {crm: await stack.enter_async_context(UNLIMITED[crm](0)) for crm in CRMS}


@pytest.fixture
async def alerted(monkeypatch):
    """The receiver of alerts."""
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[log.hand_to_taps, LogCapture()])
    async with receiving() as receiver:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", f"{receiver.url}/hook")
        monkeypatch.setenv("ALERT_WEBHOOK_SECRET", "canary-of-the-webhook")
        monkeypatch.setenv("ALERT_PING_URL", f"{receiver.url}/ping")
        yield receiver
    structlog.configure(processors=before)


@pytest.fixture
async def collected(monkeypatch):
    """The receiver of traces."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


def worker_environment(url: str, sandboxes: Mapping[str, Sandbox], **more: str) -> dict[str, str]:
    env = environment(url, N8N_SIGNING_SECRET=SIGNING_SECRET, METRICS_LISTEN=f"127.0.0.1:{free_port()}")
    for crm, sandbox in sandboxes.items():
        env |= settings(crm, sandbox.url)
    return env | more


def carries_a_person(call: Call) -> bool:
    return "canary" in f"{call.path} {call.query} {call.body}".lower()


def quote_back(crm: str, sandbox: Sandbox, answer: Callable[[str], Answer]) -> None:
    """A request that names the person gets an answer with the person too, any other one with the key it came with."""
    key = f"for the key {SENT_KEYS[crm]}"
    sandbox.standing_faults += [Fault(carries_a_person, answer=answer(QUOTED + key)), Fault(answer=answer(key))]


async def flip(app, **more: str) -> None:
    person = {**PERSON, **more}
    columns = ", ".join([*person, *(f"{crm}_sync_status" for crm in CRMS)])
    values = ", ".join([*(f"${number}" for number in range(1, len(person) + 1)), *("'Queued'" for _ in CRMS)])
    await app.execute(f"INSERT INTO contacts ({columns}) VALUES ({values})", *person.values())


async def log_until(running: Process, crms: Collection[str]) -> str:
    """The log, until it mentions each of these."""
    assert running.stderr is not None
    lines, open_ = [], set(crms)
    async with asyncio.timeout(TIMEOUT_S):
        while open_ and (line := (await running.stderr.readline()).decode()):
            lines.append(line)
            if SAID.search(line):
                open_.discard(json.loads(line).get("crm"))
    return "".join(lines)


async def told(
    app,
    env: dict[str, str],
    running: Process,
    crms: Collection[str] = CRMS,
    commands: Collection[tuple[str, ...]] = COMMANDS,
) -> dict[str, str]:
    """Everything that can be read from outside, by place."""
    texts = {"the log": await log_until(running, crms)}
    texts["/metrics"] = await answered(env["METRICS_LISTEN"], "/metrics")
    for path in ("/livez", "/readyz"):
        texts[path] = (await get(env["METRICS_LISTEN"], path))[1]
    assert "crm_sync_contacts_finished_total" in texts["/metrics"]
    texts["the process list"] = _command_line(running.pid)
    said = await asyncio.gather(*(_said(env, *arguments) for arguments in commands))
    texts |= {f"crm-sync {' '.join(arguments)}": text for arguments, text in zip(commands, said, strict=True)}
    with suppress(ProcessLookupError):  # it may have refused to go on
        running.terminate()
    _, out, err = await ended(running)
    texts["the log"] += out + err
    errors = await app.fetch("SELECT to_jsonb(contacts) AS row FROM contacts")
    rows = [json.loads(row["row"]) for row in errors]
    texts["the rows"] = " ".join(str(row[f"{crm}_processing_error"]) for row in rows for crm in CRMS)
    for table in ("history", "minutes", "events"):
        texts[table] = "\n".join(row[0] for row in await app.fetch(f"SELECT to_jsonb(t)::text FROM crm_sync.{table} AS t"))
    if crms:
        assert texts["history"]
        assert texts["events"]
    return texts


async def _said(env: dict[str, str], *arguments: str) -> str:
    async with process({**env, "COLUMNS": "1000"}, *arguments) as command:
        _, out, err = await ended(command)
    return out + err


def _command_line(pid: int) -> str:
    file = Path(f"/proc/{pid}/cmdline")
    return file.read_text() if file.exists() else ""


def leaks(texts: Mapping[str, str]) -> list[str]:
    """Each place with a mark, and its surroundings."""
    found = []
    for place, text in texts.items():
        low = text.lower()
        found += [f"{place}: {mark} in …{low[max(low.index(mark) - 200, 0) :][:300]}…" for mark in MARKS if mark in low]
    return found


@pytest.mark.parametrize("answer", one_quick(ANSWERS.values()), ids=ANSWERS.keys())
async def test_what_crms_quote_back_stands_nowhere(app, url, sandboxes, answer):
    for crm, sandbox in sandboxes.items():
        quote_back(crm, sandbox, answer)
    env = worker_environment(url, sandboxes)
    await flip(app)
    async with process(env, fresh=True) as running:
        assert leaks(await told(app, env, running)) == []


@pytest.mark.parametrize("answer", one_quick(ANSWERS.values()), ids=ANSWERS.keys())
async def test_nor_in_an_alert_or_a_trace(app, url, sandboxes, answer, alerted, collected, monkeypatch):  # noqa: PLR0917
    for crm, sandbox in sandboxes.items():
        quote_back(crm, sandbox, answer)
        for name, value in settings(crm, sandbox.url).items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("N8N_SIGNING_SECRET", SIGNING_SECRET)
    await app.execute("SELECT crm_sync.set_tracing(TRUE)")
    async with app.transaction():
        await app.execute(f"SET LOCAL crm_sync.traceparent = '{PERSON['email']}'")
        await flip(app)
    configuration = Configuration(Settings(database_url=as_worker(url)), Environment.capture())
    # If the CRM only throttles, the silence is reported.
    async with working(Daemon(configuration, waits=replace(QUICK, silence_s=0.3))):
        await alerted.until(lambda heard: len(heard) >= 2)  # the webhook, and the dead man's switch
        await collected.until(lambda spans: {span.name for span in spans} >= {f"upsert {crm}" for crm in CRMS})
    texts = {f"alert {number}": f"{told.target} {told.body.decode()}" for number, told in enumerate(alerted.heard)}
    texts |= {f"trace {number}": body.decode("latin-1") for number, body in enumerate(collected.bodies)}
    texts["the table of alerts"] = str(await app.fetch("SELECT to_jsonb(a) FROM crm_sync.alerts AS a"))
    texts["the table of codes"] = str(await app.fetch("SELECT to_jsonb(a) FROM crm_sync.alert_codes AS a"))
    texts["crm-sync alerts"] = await _said(environment(url), "alerts", "--json")
    assert json.loads(texts["crm-sync alerts"])["alerts"]
    assert leaks(texts) == []


@slow
async def test_what_a_crm_quotes_of_a_record_that_was_asked_for_by_its_id_stands_nowhere(app, url, sandboxes):
    for sandbox in sandboxes.values():
        sandbox.standing_faults.append(Fault(answer=Answer(500, page(QUOTED), HTML)))
    env = worker_environment(url, sandboxes)
    await flip(app, hubspot_contact_id="12", brevo_contact_id="12", mautic_contact_id="12")
    async with process(env, fresh=True) as running:
        # `check` sends no contact, so it cannot know which person a CRM's page quotes.
        assert leaks(await told(app, env, running, commands=COMMANDS[:2])) == []


async def test_an_invalid_address_stands_nowhere(app, url, sandboxes):
    env = worker_environment(url, sandboxes)
    await flip(app, email="canary is no address")
    async with process(env, fresh=True) as running:
        assert leaks(await told(app, env, running)) == []


@slow
async def test_a_telephone_number_in_another_spelling_stands_nowhere(app, url, sandboxes):
    for sandbox in sandboxes.values():
        sandbox.standing_faults.append(Fault(carries_a_person, answer=Answer(400, message("33639981111 is no number"))))
    env = worker_environment(url, sandboxes)
    await flip(app)
    async with process(env, fresh=True) as running:
        assert leaks(await told(app, env, running)) == []


async def test_a_value_that_the_mapping_cannot_turn_into_a_number_stands_nowhere(app, url, sandboxes, tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[brevo]\nAGE = "first_name::integer"\n')
    env = worker_environment(url, sandboxes, MAPPING_FILE=str(mapping))
    await flip(app)
    async with process(env, fresh=True) as running:
        assert leaks(await told(app, env, running, ())) == []


@pytest.mark.parametrize(
    "refusal",
    one_quick(
        [
            "ALTER TABLE contacts ADD CHECK (first_name IS NULL OR brevo_contact_id IS NULL)",
            (
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE EXCEPTION 'not this row: %', NEW USING DETAIL = NEW::text, HINT = NEW.phone; END $$; "
                "CREATE TRIGGER refuse BEFORE UPDATE OF brevo_contact_id ON contacts FOR EACH ROW "
                "WHEN (NEW.brevo_claimed_by IS NULL) EXECUTE FUNCTION refuse()"
            ),
            "CREATE UNIQUE INDEX ON contacts (brevo_contact_id, first_name) WHERE brevo_contact_id IS NOT NULL",
        ]
    ),
    ids=["a check", "a trigger", "a unique index"],
)
async def test_what_postgres_quotes_of_a_row_that_cannot_be_written_stands_nowhere(app, url, sandboxes, refusal):
    await app.execute(refusal)
    env = worker_environment(url, sandboxes)
    for _ in range(2):
        await flip(app)
    async with process(env, fresh=True) as running:
        others = [crm for crm in CRMS if crm != "brevo"]
        texts = {"so far": await log_until(running, others)}
        await until(app, " AND ".join(f"bool_and({crm}_sync_status = 'Complete')" for crm in others) + " FROM contacts")
        assert leaks(texts | await told(app, env, running, ())) == []
