"""What the application pays: single-row flips by 16 clients, the worker awake and its lane paused.

pgbench flips contacts that are New, each once, in a transaction of its own. Three times in turn: without our triggers, with
them, and with a trigger that does nothing but NOTIFY, as most queues once had.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg

from tests.bench import ours
from tests.bench.peers.process import running_worker
from worker.sandbox.postgres import Postgres

CLIENTS = 16
SECONDS = 8
CONTACTS = 320_000
PAUSED = (sys.executable, "-m", "tests.bench.worker_ours", "paused")

SCRIPT = f"""
\\set i :i + 1
\\set n :client_id * {CONTACTS // CLIENTS} + :i
UPDATE contacts SET brevo_sync_status = 'Queued'
WHERE id = ('00000000-0000-4000-8000-' || lpad(to_hex((:n)::bigint), 12, '0'))::uuid;
"""
MORE_THAN_ITS_HANDS_HOLD = """
    INSERT INTO contacts (email, brevo_sync_status)
    SELECT n || '@example.org', 'Queued' FROM generate_series(1, 100) AS n
"""
NO_TRIGGERS = "DROP TRIGGER crm_sync_brevo_update ON contacts; DROP TRIGGER crm_sync_brevo_insert ON contacts;"
NOTIFY_EACH = """
CREATE FUNCTION notify_each() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('each', 'brevo');
    RETURN NEW;
END;
$$;
CREATE TRIGGER notify_each BEFORE UPDATE OF brevo_sync_status ON contacts FOR EACH ROW EXECUTE FUNCTION notify_each();
"""


async def flips_per_second(server: Postgres, name: str) -> dict[str, float]:
    """By case: without trigger, crm-sync, NOTIFY in each. One database for all: what differs is the trigger alone."""
    rates = {}
    for case, change in (("no trigger", NO_TRIGGERS), ("crm-sync", ""), ("NOTIFY in each", NO_TRIGGERS + NOTIFY_EACH)):
        url = server.create_database(name)
        await ours.fill(url, CONTACTS)
        connection = await asyncpg.connect(url)
        if case == "crm-sync":
            rates[case] = await _with_paused_worker(server, url, connection)
        else:
            await connection.execute(change)
            rates[case] = await _pgbench(server, url, connection)
        await connection.close()
        server.drop_database(name)
    return rates


async def _with_paused_worker(server: Postgres, url: str, connection: asyncpg.Connection) -> float:
    with ours.environment(DATABASE_URL=url):
        async with running_worker(PAUSED) as worker:
            await connection.execute(MORE_THAN_ITS_HANDS_HOLD)
            await worker.says("busy", 30)
            return await _pgbench(server, url, connection)


async def _pgbench(server: Postgres, url: str, connection: asyncpg.Connection) -> float:
    await connection.execute("VACUUM ANALYZE contacts", timeout=120)
    await connection.execute("CHECKPOINT", timeout=120)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "flip.sql"
        await asyncio.to_thread(script.write_text, SCRIPT)
        command = [server.binaries / "pgbench", "-n", "-M", "prepared", "-D", "i=0", "-f", script, url]
        command += ["-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS)]
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"pgbench failed: {run.stderr[-500:]}")
    done = await connection.fetchval("SELECT count(*) FROM contacts WHERE brevo_sync_status = 'Queued'", timeout=60)
    reported = int(re.search(r"transactions actually processed: (\d+)", run.stdout)[1])  # type: ignore[index]
    # A contact flipped twice would cost less: it keeps its place in line.
    if not reported <= done <= reported + 100:
        raise RuntimeError(f"pgbench ran {reported} transactions, but {done} contacts were flipped: it came round")
    return float(re.search(r"tps = ([\d.]+)", run.stdout)[1])  # type: ignore[index]
