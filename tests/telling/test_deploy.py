"""The rules and the dashboard in deploy/ use only metrics that a worker reports. How they behave on a real Prometheus is in
tests/telling/test_prometheus.py.
"""

import json
import re
import subprocess

import pytest

from crm_sync.cli import COMMANDS
from crm_sync.sandbox.postgres import free_port
from crm_sync.telling import labels
from crm_sync.telling.catalogue import CATALOGUE, VALUES
from tests.harness import ScriptedCrm, running
from tests.telling.prometheus import DASHBOARD, MISSING, RULES, RULES_TEST, shortened
from tests.telling.scrape import scraped

RULES_TEXT = RULES.read_text()
BOARD = json.loads(DASHBOARD.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    **{f"panel {panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{f"rule {name}": expr for name, expr in re.findall(r"alert: (\w+)\n +expr: ((?:.|\n)*?)\n +(?:for|labels):", RULES_TEXT)},
}
OF_PROMETHEUS = {"job", "instance", "le", "alertname", "alertstate"}
STATES = {"contacts": labels.CONTACT_STATES, "lane_state": labels.LANE_STATES, "tombstones": labels.TOMBSTONE_STATES}
SELECTOR = re.compile(r"crm_sync_(\w+?)(?:_bucket|_sum|_count)?(?:\{([^}]*)\}|\b(?!\{))")


def selectors(expression):
    """(metric, {label: values it is compared with}) of a query."""
    for name, inner in SELECTOR.findall(expression):
        matchers = re.findall(r'(\w+)(=~|=|!=|!~)"([^"]*)"', inner)
        yield name, {label: value.split("|") for label, _, value in matchers}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_names_metrics_labels_and_values_that_there_are(query):
    found = [*selectors(query)]
    assert found or "up{" in query
    for name, matchers in found:
        metric = CATALOGUE[name]
        assert matchers.keys() <= {*metric.labels, *OF_PROMETHEUS}, f"{name} has no such label"
        for label, wanted in matchers.items():
            known = STATES.get(name) if label == "state" else VALUES.get(label)
            assert known is None or "$" in wanted[0] or set(wanted) <= set(known), f"{name}: {label} never says so"


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_groups_by_labels_that_its_metrics_have(query):
    grouped = {label.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= {*OF_PROMETHEUS, *(label for name, _ in selectors(query) for label in CATALOGUE[name].labels)}


async def test_every_name_of_them_is_in_a_scrape(url):
    """Except those that exist only if there is something to report, which the run on a real Prometheus covers."""
    rare = {"limit_requests", "limit_used_requests", "backlog_ends_timestamp_seconds", "last_delivery_timestamp_seconds"}
    address = f"127.0.0.1:{free_port()}"
    async with running(url, ScriptedCrm(), metrics_listen=address):
        scrape = await scraped(address, lambda scrape: scrape.value("workers"))
    told = {re.sub(r"_(bucket|sum|count)$", "", name.removeprefix("crm_sync_")) for name in scrape.names}
    named = {name for query in QUERIES.values() for name, _ in selectors(query)}
    assert named - told <= rare
    assert {*CATALOGUE} - told <= rare


def test_every_metric_is_on_the_dashboard_or_in_a_rule():
    assert {name for query in QUERIES.values() for name, _ in selectors(query)} == {*CATALOGUE}


class TestTheRules:
    @pytest.mark.slow
    @pytest.mark.skipif(bool(MISSING), reason=MISSING)
    def test_do_what_their_stories_say(self):
        done = subprocess.run(["promtool", "test", "rules", RULES_TEST], capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.skipif(bool(MISSING), reason=MISSING)
    def test_are_rules_with_their_shorter_durations_too(self, tmp_path):
        (tmp_path / "rules.yml").write_text(shortened(RULES_TEXT))
        done = subprocess.run(
            ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_have_a_story_each_in_which_they_fire(self):
        told = RULES_TEST.read_text()
        names = re.findall(r"alert: (\w+)", RULES_TEXT)
        assert len(names) == len(set(names))
        assert [name for name in names if f'alertname="{name}"' not in told] == []

    def test_say_how_bad_it_is_and_what_to_do(self):
        for block in RULES_TEXT.split("- alert: ")[1:]:
            assert re.search(r"severity: (critical|warning|info)", block), block
            assert "summary:" in block
            assert len(block.partition("description:")[2]) > 100, block

    def test_name_commands_and_codes_that_there_are(self):
        commands = set(re.findall(r"`crm-sync ([a-z0-9-]+)", RULES_TEXT))
        assert commands
        assert commands <= set(COMMANDS)
        named = {code for group in re.findall(r'code=~"([^"]+)"', RULES_TEXT) for code in group.split("|")}
        assert named <= set(labels.CODES)


class TestTheDashboard:
    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_a_panel_says_what_it_shows(self, panel):
        assert len(panel["description"]) > 10
        assert panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])

    def test_no_two_panels_have_one_id_or_lie_over_each_other(self):
        ids = [panel["id"] for panel in BOARD["panels"]]
        assert len(ids) == len(set(ids))
        cells = [
            (place["x"] + x, place["y"] + y)
            for place in (panel["gridPos"] for panel in BOARD["panels"])
            for x in range(place["w"])
            for y in range(place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24

    def test_every_variable_that_is_used_is_there(self):
        used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(BOARD)))
        assert used == {variable["name"] for variable in BOARD["templating"]["list"]}
