"""The README and the manual say everything that is there, and nothing that is not."""

import re
import tomllib

import click
import psycopg
import pytest
from click.testing import CliRunner

from crm_sync.cli import COMMANDS, crm_sync
from crm_sync.core.alert import Condition
from crm_sync.core.codes import Code
from crm_sync.core.connection_parameters import PARAMETERS
from crm_sync.crm.registry import OWN
from crm_sync.settings import LaneSettings
from crm_sync.table.field_options import read_field
from docs.generate.__main__ import generated
from docs.generate.settings import models
from tests.manual import MANUAL, PAGES, README, ROOT, fenced, page

SETTINGS = [
    *(name.upper() for model in models().values() for name in model.model_fields),
    *(f"BREVO_{name.upper()}" for name in LaneSettings.model_fields),
]
SETTINGS_PAGE = page("reference/settings.md")
NAMES = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", README.read_text() + MANUAL))
# What looks like a setting and is one of somebody else's, or what a page warns of.
OTHERS = {
    "BREVO_APIKEY", "CONTACT_TABLE", "EXT_ID", "EX_CONFIG", "EX_UNAVAILABLE", "N8N_CONCURRENCY_PRODUCTION_LIMIT",
    "N8N_PAYLOAD_SIZE_MAX", "NO_CODE", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER",
    "SSL_CERT_FILE",
}  # fmt: skip
REPOSITORY = "https://github.com/crm-sync/crm-sync/blob/main/"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *PAGES]


def test_what_follows_from_the_code_is_as_the_code_has_it():
    stale = [path for path, text in generated().items() if text != (path.read_text() if path.exists() else None)]
    assert stale == [], "run: make reference"


def test_every_setting_is_generated():
    for setting in SETTINGS:
        assert len(re.findall(rf"^\| `{setting}` \|", SETTINGS_PAGE, re.MULTILINE)) == 1


def test_the_manual_names_no_setting_that_does_not_exist():
    of_lanes = {f"{crm}_{name}".upper() for crm in OWN for name in LaneSettings.model_fields}
    of_a_plug_in = {name for name in NAMES if name.startswith(("PIPEDRIVE_", "LISTMONK_"))}
    known = {*SETTINGS, *of_lanes, *Code, *Condition, *of_a_plug_in, *OTHERS}
    known |= {name.upper() for name in LaneSettings.model_fields}
    assert NAMES - known == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_its_options_are_in_the_manual(command):
    section = page("reference/commands.md").partition(f"## crm-sync {command}\n")[2].partition("\n## ")[0]
    found = crm_sync.get_command(click.Context(crm_sync), command)
    assert found is not None
    for parameter in found.params:
        for option in parameter.opts:
            assert option in section or option == (parameter.name or "").lower()


def test_the_manual_has_every_alert_and_no_other():
    table = page("how-to/alert.md").partition("| alert | when |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE) == list(Condition)


@pytest.mark.parametrize("code", Code)
def test_a_code_has_a_page_that_says_whose_fault_it_is_and_what_to_do(code):
    text = page(f"reference/codes/{code}.md")
    for part in ("| meaning |", "| at fault |", "| what to do |", "| retried |", "## Cause", "## What to do"):
        assert part in text
    assert f"[`{code}`]({code}.md)" in page("reference/codes/index.md")


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
        assert (ROOT / code.page.removeprefix(REPOSITORY)).is_file()
        assert code.page in said
    assert runner.invoke(crm_sync, ["errors", "REJECTED: as it stands in the row"]).exit_code == 0
    everything = runner.invoke(crm_sync, ["errors"], env={"COLUMNS": "200"}).output
    assert all(code in everything for code in Code)
    unknown = runner.invoke(crm_sync, ["errors", "NOPE"])
    assert unknown.exit_code == 2
    assert "NOPE is not a code" in unknown.output


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
class TestADocument:
    def test_has_one_title_and_it_comes_first(self, path):
        lines = without_code(path.read_text()).splitlines()
        assert lines[0].startswith("# ")
        assert [line for line in lines if line.startswith("# ")] == lines[:1]

    def test_names_make_targets_that_exist(self, path):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(re.findall(r"^ *make ([a-z-]+)", code_of(path), re.MULTILINE)) <= set(targets)

    def test_names_commands_that_exist(self, path):
        named = re.findall(r"^ *crm-sync ([a-z0-9-]+)", code_of(path), re.MULTILINE)
        assert {name for name in named if not name.startswith("-")} <= set(COMMANDS)

    def test_names_files_that_exist(self, path):
        named = re.findall(r"`((?:worker|tests|sql|docs|deploy)/[\w./*-]*)`", path.read_text())
        assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []

    def test_has_links_that_lead_somewhere(self, path):
        for link, target, anchor in links(path):
            assert target.exists(), f"{link}: there is no such file"
            assert not anchor or anchor in anchors(target), f"{link}: the page has no such heading"

    def test_has_sql_that_runs(self, path, owner):
        for statement in statements(path.read_text()):
            owner.execute(statement.replace("'...'", "gen_random_uuid()"))


@pytest.mark.parametrize("section", ["how-to", "reference", "explanation"])
def test_an_index_lists_each_of_its_pages_once_with_a_line_on_it(section):
    index = ROOT / "docs" / section / "index.md"
    lines = re.findall(r"^- \[[^]]+\]\(([^)]+)\): .{10,}$", index.read_text(), re.MULTILINE)
    listed = [(index.parent / line).resolve() for line in lines]
    below = [*index.parent.glob("*.md"), *index.parent.glob("*/index.md")]
    assert sorted(listed) == sorted(set(below) - {index})
    [tree] = re.findall(r"^```{toctree}\n:hidden:\n\n(.*?)^```", index.read_text(), re.MULTILINE | re.DOTALL)
    assert [(index.parent / f"{name}.md").resolve() for name in tree.split()] == listed


def test_the_readme_leads_to_every_section():
    assert {target for _, target, _ in links(README)} >= {
        ROOT / "docs" / page
        for page in ("tutorial/first-contact.md", "how-to/index.md", "reference/index.md", "explanation/index.md")
    }


def test_the_readme_is_short_and_its_links_work_on_the_package_index():
    assert len(README.read_text().splitlines()) <= 100
    assert all(link.startswith("https:") for link in re.findall(r"\]\(([^)]+)\)", README.read_text()))


def test_the_readme_has_the_figures_of_the_benchmarks():
    _, _, promises = README.read_text().partition("## What it promises\n")
    figures = re.findall(r"\d[\d.,]*\d", promises)
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in page("explanation/benchmarks.md")] == []


def test_python_is_on_pages_whose_code_is_run():
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    run = set(re.findall(r"""= blocks\("([a-z/-]+\.md)"\)$""", sources, re.MULTILINE))
    assert {str(path.relative_to(ROOT / "docs")) for path in PAGES if fenced(path.read_text(), "python")} == run
    assert not fenced(README.read_text(), "python")


def test_the_mapping_of_the_manual_is_sql(owner):
    owner.execute(
        "ALTER TABLE contacts ADD name text, ADD paid boolean, ADD opted_out boolean, ADD opted_in_at timestamptz, "
        "ADD lists int[], ADD gone int[]"
    )
    for mapping in fenced(page("reference/mapping.md"), "toml"):
        for crm, fields in tomllib.loads(mapping).items():
            for name, value in fields.items():
                owner.execute(f"SELECT {read_field(crm, name, value).sql} FROM contacts")


def test_the_manual_says_what_each_index_on_the_contacts_table_is_for():
    schema = (ROOT / "sql" / "schema.sql").read_text()
    made = re.findall(r"^CREATE INDEX \w+ ON public\.contacts USING btree \((.*)\) WHERE", schema, re.MULTILINE)
    table = page("reference/columns.md").partition("| index on |")[2].partition("\n\n")[0]
    explained = {name: line for line in table.splitlines() for name in re.findall(r"^\| [^|`]*`(\w+)`", line)}
    of_one_crm = {columns for name in made if (columns := "".join(re.findall(r"brevo_\w+|\bnext_retry_at\b", name)))}
    assert (len(made), explained.keys()) == (9, of_one_crm), "one row for each kind"
    assert all(len(cell.strip()) > 3 for line in explained.values() for cell in line.strip("|").split("|"))


def test_the_order_of_the_layers_is_the_one_that_is_checked():
    [layers] = [
        contract["layers"]
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert f"```\n{' > '.join(layers)}\n```" in (ROOT / "CONTRIBUTING.md").read_text()


def test_every_parameter_of_a_url_is_in_the_manual_and_no_other():
    _, _, table = page("reference/database.md").partition("<!-- parameters -->")
    rows = [row for row in table.partition("\n\n")[0].splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(PARAMETERS)


@pytest.fixture
def owner(url):
    """The owner of a migrated database, who does as he is told; nothing of it stays."""
    with psycopg.connect(url) as owner:
        yield owner
        owner.rollback()


def statements(text):
    """The SQL between backticks in a sentence. That of blocks is run by tests/docs."""
    prose = re.sub(r"\s+", " ", without_code(text))
    return [*re.findall(r"`((?:INSERT|UPDATE|DELETE|SELECT) [^`]+)`", prose)]


def links(path):
    """Each link of a document into the repository: as it is written, the file, and the anchor or an empty text."""
    for link in re.findall(r"\]\(([^)]+)\)", without_code(path.read_text())):
        target, _, anchor = link.removeprefix(REPOSITORY).partition("#")
        if link.startswith(REPOSITORY):
            yield link, (ROOT / target).resolve(), anchor
        elif not re.match(r"[a-z]+:", link):
            yield link, (path.parent / target).resolve() if target else path, anchor


def anchors(path):
    """What the headings of a document are called in a link: lower-case letters, hyphens for whitespace, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_of(path):
    """Its blocks, and what stands between backticks in a sentence, each from the beginning of a line."""
    text = path.read_text()
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", without_code(text))])


def without_code(text):
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
