"""The README and the manual say everything that is there, and nothing that is not."""

import re
import tomllib

import click
import psycopg
import pytest
from click.testing import CliRunner

from crm_sync import events
from crm_sync.cli import COMMANDS, crm_sync
from crm_sync.console_settings import ConsoleSettings
from crm_sync.core.alert import Condition
from crm_sync.core.codes import Code
from crm_sync.core.connection_string import PARAMETERS
from crm_sync.crm.registry import OWN
from crm_sync.settings import AlertSettings, LaneSettings, ProxySettings, Settings, TraceSettings, TransportSettings
from tests.manual import INDEX, MANUAL, PAGES, README, ROOT, fenced, page

MODELS = [
    *(Settings, TransportSettings, ProxySettings, AlertSettings, TraceSettings, ConsoleSettings),
    *(crm.settings for crm in OWN.values()),
]
SETTINGS = [
    *(name.upper() for model in MODELS for name in model.model_fields),
    *(f"BREVO_{name.upper()}" for name in LaneSettings.model_fields),
]
SETTINGS_PAGE = page("settings.md")
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *PAGES]
EVENTS = [value for name, value in vars(events).items() if name.isupper()]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_in_the_manual(setting):
    assert f"| `{setting}` |" in SETTINGS_PAGE


def test_the_manual_has_no_setting_that_does_not_exist():
    assert set(re.findall(r"^\| `([A-Z0-9_]+)` \| [^|]+ \| [^|]+ \|$", MANUAL, re.MULTILINE)) - set(Code) == set(SETTINGS)


@pytest.mark.parametrize("model", [*MODELS, LaneSettings])
def test_a_default_in_the_manual_is_the_real_one(model):
    for name, field in model.model_fields.items():
        setting = f"BREVO_{name.upper()}" if model is LaneSettings else name.upper()
        match = re.search(rf"^\| `{setting}` \| ([^|]+) \|", SETTINGS_PAGE, re.MULTILINE)
        assert match is not None
        default = match[1].strip("` ")
        if isinstance(field.default, bool):
            assert default == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert float(default) == field.default
        elif isinstance(field.default, str):
            assert default == (field.default or "none")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_its_options_are_in_the_manual(command):
    assert f"| `crm-sync {command}` |" in page("commands.md")
    found = crm_sync.get_command(click.Context(crm_sync), command)
    assert found is not None
    for parameter in found.params:
        for option in parameter.opts:
            assert option in MANUAL or option in ("--yes", "--contacts", "code")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_in_the_manual(event):
    assert f"`{event}`" in page("log-events.md")


def test_the_manual_has_every_alert_and_no_other():
    table = page("alerts.md").partition("| alert | when |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE) == list(Condition)


@pytest.mark.parametrize("code", Code)
def test_a_code_is_in_the_manual_with_what_it_means_and_what_to_do(code):
    if code.lane:
        assert f"`{code}`" in page("failure-codes.md")
    else:
        retried = "yes" if code.retried else "no"
        assert f"| `{code}` | {code.meaning} | {code.remedy} | {retried} |" in page("failure-codes.md")


def test_every_code_in_the_sources_is_in_the_catalogue():
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py") if "sandbox" not in path.parts)
    called = re.findall(r"(?:Outcome\.\w+|[a-z]\w*Error)\(\s*(?:Code\.(\w+)|\"([A-Z][A-Z0-9_]+)\")", sources)
    assert not [literal for _, literal in called if literal], "codes are members of Code, not texts"
    assert len({member for member, _ in called}) > 10
    assert {member for member, _ in called if member} <= set(Code.__members__)


def test_every_code_is_used():
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py") if path.name != "codes.py")
    assert [code for code in Code if f"Code.{code}" not in sources] == []


def test_a_code_is_explained_on_the_command_line():
    runner = CliRunner()
    for code in Code:
        answer = runner.invoke(crm_sync, ["errors", code.lower()])
        assert answer.exit_code == 0
        said = " ".join(answer.output.split())
        assert f"meaning {code.meaning}" in said
        assert f"to do {code.remedy}" in said
    assert runner.invoke(crm_sync, ["errors", "REJECTED: as it stands in the row"]).exit_code == 0
    everything = runner.invoke(crm_sync, ["errors"], env={"COLUMNS": "200"}).output
    assert all(code in everything for code in Code)
    unknown = runner.invoke(crm_sync, ["errors", "NOPE"])
    assert unknown.exit_code == 2
    assert "NOPE is no code" in unknown.output


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
class TestADocument:
    def test_has_one_title_and_it_comes_first(self, path):
        lines = without_code(path.read_text()).splitlines()
        assert lines[0].startswith("# ")
        assert [line for line in lines if line.startswith("# ")] == lines[:1]

    def test_names_make_targets_that_exist(self, path):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(re.findall(r"(?:^|`) *make ([a-z-]+)", path.read_text(), re.MULTILINE)) <= set(targets)

    def test_names_commands_that_exist(self, path):
        named = re.findall(r"(?:^|`) *crm-sync ([a-z0-9-]+)", path.read_text(), re.MULTILINE)
        assert {name for name in named if not name.startswith("-")} <= set(COMMANDS)

    def test_names_files_that_exist(self, path):
        named = re.findall(r"`((?:worker|tests|sql|docs|deploy)/[\w./*-]*)`", path.read_text())
        assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []

    def test_has_links_that_lead_somewhere(self, path):
        for link, target, anchor in links(path):
            assert target.exists(), f"{link}: there is no such file"
            assert not anchor or anchor in anchors(target), f"{link}: the page has no such heading"

    def test_has_sql_that_runs(self, path, migrated):
        for statement in statements(path.read_text()):
            migrated.execute(statement.replace("'...'", "gen_random_uuid()"))


def test_the_index_lists_every_page_once():
    listed = [target for _, target, _ in links(INDEX) if target.parent == INDEX.parent]
    assert sorted([*listed, INDEX]) == PAGES
    assert len(re.findall(r"^- \[[^]]+\]\([^)]+\): .{10,}$", INDEX.read_text(), re.MULTILINE)) == len(listed)


def test_the_readme_leads_to_every_page():
    assert {target for _, target, _ in links(README)} >= set(PAGES)


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) < 120


def test_the_readme_has_the_figures_of_the_benchmarks():
    _, _, promises = README.read_text().partition("## What it promises\n")
    figures = re.findall(r"\d[\d.,]*\d", promises)
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in page("benchmarks.md")] == []


def test_python_is_on_pages_whose_code_is_run():
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    run = set(re.findall(r"""= blocks\("([a-z-]+\.md)"\)$""", sources, re.MULTILINE))
    assert {path.name for path in PAGES if fenced(path.read_text(), "python")} == run
    assert not fenced(README.read_text(), "python")


def test_the_mapping_of_the_manual_is_sql(migrated):
    [mapping] = fenced(page("mapping.md"), "toml")
    migrated.execute("ALTER TABLE contacts ADD name text, ADD paid boolean")
    for fields in tomllib.loads(mapping).values():
        for expression in fields.values():
            migrated.execute(f"SELECT {expression} FROM contacts")


def test_the_order_of_the_layers_is_the_one_that_is_checked():
    [layers] = [
        contract["layers"]
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert f"```\n{' > '.join(layers)}\n```" in (ROOT / "CONTRIBUTING.md").read_text()


def test_every_parameter_of_a_url_is_in_the_manual_and_no_other():
    _, _, table = page("database.md").partition("<!-- parameters -->")
    rows = [row for row in table.partition("\n\n")[0].splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(PARAMETERS)


@pytest.fixture
def migrated(url):
    """The owner of a migrated database, who does as he is told; nothing of it stays."""
    with psycopg.connect(url) as owner:
        yield owner
        owner.rollback()


def statements(text):
    """The SQL of a text: of its blocks, and what stands between backticks in a sentence."""
    prose = re.sub(r"\s+", " ", without_code(text))
    return [*fenced(text, "sql"), *re.findall(r"`((?:INSERT|UPDATE|DELETE|SELECT) [^`]+)`", prose)]


def links(path):
    """Each relative link of a document: as it is written, the file, and the anchor or an empty text."""
    for link in re.findall(r"\]\(([^)]+)\)", without_code(path.read_text())):
        if not re.match(r"[a-z]+:", link):
            target, _, anchor = link.partition("#")
            yield link, (path.parent / target).resolve() if target else path, anchor


def anchors(path):
    """What the headings of a document are called in a link: small letters, hyphens for blanks, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
