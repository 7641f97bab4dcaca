"""The real worker: it sends alerts through all of its channels, and its last spans before it ends."""

import asyncio
import json

from crm_sync.sandbox.server import Fault, Hold
from tests.harness import TIMEOUT_S, until
from tests.process import ended, environment, process
from tests.steps import insert
from tests.telling.collector import CLIENT, CONSUMER
from tests.telling.collector import collecting as collector_of
from tests.telling.test_alerts import HELD


async def test_a_worker_tells_its_program_its_webhook_and_its_switch(app, url, brevo, receiver, tmp_path):
    out, script = tmp_path / "said", tmp_path / "notify"
    script.write_text(f"#!/bin/sh\nenv > {out}.env\ncat > {out}.part\nmv {out}.part {out}\n")
    script.chmod(0o700)
    await app.execute(HELD, "brevo")
    told = {
        "ALERT_COMMAND": str(script),
        "ALERT_WEBHOOK_URL": f"{receiver.url}/hook",
        "ALERT_WEBHOOK_SECRET": "a-secret-of-the-webhook",
        "ALERT_PING_URL": f"{receiver.url}/ping",
    }
    async with process(environment(url, brevo, **told)) as worker:
        message = await receiver.message("LANE_PAUSED_LONG")
        await receiver.until(lambda heard: any(told.target == "/ping/fail" for told in heard))
        await until(app, "untold = '{}' FROM crm_sync.alerts")
        worker.terminate()
        code, _, err = await ended(worker)
    assert code == 0
    assert json.loads(out.read_text()) == message
    handed_on = out.with_suffix(".env").read_text()
    assert not any(name in handed_on for name in ("BREVO", "DATABASE", "ALERT", "secret"))
    raised = [json.loads(line) for line in err.splitlines() if '"alert_raised"' in line]
    assert [(entry["alert"], entry["crm"]) for entry in raised] == [("LANE_PAUSED_LONG", "brevo")]
    assert "alert_not_told" not in err


async def test_what_a_worker_has_under_way_when_it_is_stopped_is_in_its_last_spans(app, url, brevo):
    hold = Hold()
    brevo.next_faults.append(Fault(hold=hold))
    async with collector_of() as collector:
        env = environment(url, brevo, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="60000")
        async with process(env) as worker:
            await insert(app, "Queued")
            async with asyncio.timeout(TIMEOUT_S):
                await hold.reached.wait()
            worker.terminate()
            await until(app, "brevo_claimed_by IS NOT NULL FROM contacts")
            hold.release()
            code, _, err = await ended(worker)
        assert code == 0, err
        assert await app.fetchval("SELECT brevo_sync_status FROM contacts") == "Complete"
        assert {CONSUMER, CLIENT} <= {span.kind for span in collector.spans}
        assert "traces_lost" not in err
