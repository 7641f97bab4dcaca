"""The command line as a whole: its list of commands, its help, and what a shell completes."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import crm_sync.commands
from crm_sync import __version__
from crm_sync.cli import COMMANDS, SECTIONS
from crm_sync.cli import crm_sync as cli
from crm_sync.commands.completion import SHELLS, VARIABLE
from crm_sync.crm.registry import OWN
from tests.tiers import slow

FILES = [path.stem.replace("_", "-") for path in Path(crm_sync.commands.__path__[0]).glob("[!_]*.py")]


def helped(*arguments):
    answer = CliRunner().invoke(cli, [*arguments, "--help"], env={"COLUMNS": "80"})
    assert answer.exit_code == 0, answer.output
    return answer.output


def command(name):
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def test_every_command_stands_in_one_section():
    assert sorted(COMMANDS) == sorted(FILES)
    assert [*SECTIONS] == ["Run", "Look", "Repair", "Set up"]


def test_the_list_is_whole_at_80_columns():
    text = helped()
    assert "..." not in text.partition("ARGS]...")[2]
    assert max(map(len, text.splitlines())) <= 80
    for section in SECTIONS.values():
        for name, summary in section.items():
            assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_is_whole_at_80_columns(name):
    text = helped(name)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_its_help_has_examples_that_it_takes(name):
    examples = re.findall(r"^    (?:[A-Z_]+=\S+ )*crm-sync (.+)$", helped(name).partition("\n  Example:\n")[2], re.MULTILINE)
    assert examples
    for example in examples:
        first, *arguments = shlex.split(re.split(r" (?:[|>]|>>) ", example)[0])
        assert first == name
        command(name).make_context(name, arguments)  # raises UsageError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_help_and_version_need_no_command_to_be_imported():
    for option in ("--help", "--version"):
        code = f"import sys; from crm_sync.cli import main; sys.argv[1:] = ['{option}']\ntry: main()\nexcept SystemExit: pass\n"
        code += "print([name for name in sys.modules if name.startswith('crm_sync.commands') or name == 'asyncpg'])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package():
    assert CliRunner().invoke(cli, ["--version"]).output == f"crm-sync, version {__version__}\n"


def offered(*words):
    *before, incomplete = words
    return [item.value for item in ShellComplete(cli, {}, "crm-sync", VARIABLE).get_completions(before, incomplete)]


def test_commands_options_crms_and_codes_are_completed():
    assert offered("re") == ["retry", "resume"]
    assert {"--crm", "--code", "--since"} <= {*offered("retry", "--")}
    assert offered("pause", "") == [*OWN]
    assert offered("retry", "--crm", "h") == ["hubspot"]
    assert offered("failed", "--code", "time") == ["TIMEOUT"]
    assert offered("on-delete", "brevo", "e") == ["erase"]
    assert offered("completion", "") == [*SHELLS]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_of_a_shell_is_printed_whole_without_that_shell(shell, monkeypatch):
    monkeypatch.setenv("PATH", "")
    answer = CliRunner().invoke(cli, ["completion", shell])
    assert answer.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in answer.output
    assert answer.stderr == ""


ASKS = {
    "bash": """
        . {script}
        COMP_WORDS=(crm-sync pau) COMP_CWORD=1
        _crm_sync_completion crm-sync && printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        compdef() {{ :; }}; compadd() {{ :; }}; _describe() {{ print -l "${{(P@)${{@[-3]}}}}" "${{(P@)${{@[-2]}}}}"; }}
        . {script}
        words=(crm-sync pau) CURRENT=2
        _crm_sync_completion
    """,
    "fish": "source {script}; complete --do-complete 'crm-sync pau'",
}


@slow
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_with_it(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(cli, ["completion", shell]).output)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    asked = [shell, "-c", ASKS[shell].format(script=script)]
    done = subprocess.run(
        asked, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=60
    )
    assert "pause" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sttaus", "No such command 'sttaus'. Did you mean status?"),
        ("Adopt --plan", "No such command 'Adopt'. Did you mean adopt?"),
        ("on-delte brevo", "Did you mean on-delete?"),
        ("frobnicate", "No such command 'frobnicate'. `crm-sync --help` lists them."),
        ("match --crm brevo", "No such option '--crm'. It is named without an option: crm-sync match CRM"),
        ("compare --crm=brevo", "It is named without an option: crm-sync compare CRM"),
        ("errors --code DUPLICATE", "It is named without an option: crm-sync errors CODE"),
        ("forget --key 7", "It is named without an option: crm-sync forget KEY"),
        (
            "why 999",
            "Got unexpected extra argument (999). Name a CRM with --crm CRM, a contact with --key KEY or --email ADDRESS.",
        ),
        ("failed brevo", "Got unexpected extra argument (brevo). Name a CRM with --crm CRM, a contact with --key KEY."),
        ("status brevo", "Got unexpected extra argument (brevo)"),
    ],
)
def test_what_a_command_does_not_take_is_answered_with_what_it_does(line, said):
    answer = CliRunner().invoke(cli, shlex.split(line), prog_name="crm-sync")
    assert answer.exit_code == 2
    assert said in answer.output
    assert answer.output.count("It is named") <= 1
