"""Every block in the manual is run, or at least parsed, so that readers can copy it."""

import ast
import configparser
import io
import json
import re
import subprocess
import tomllib
from collections import Counter
from contextlib import contextmanager

import pytest
from dotenv import dotenv_values

from tests.docs.blocks import blocks, world
from tests.docs.trial import trial
from tests.manual import PAGES, README, ROOT
from tests.servers import running_server
from tests.test_docs import SETTINGS
from tests.tiers import slow

MANUAL = [README, *PAGES]
RUN = {"sh", "sql", "then"}
SHOWN = {"text"}  # output, and drawings made of characters
NOT_RUN = 19  # blocks at most; lower it when you can
TRIED = [path for path in MANUAL if any(block.language in RUN and not block.not_run for block in blocks(path.read_text()))]


def name(path):
    return str(path.relative_to(ROOT))


@slow
@pytest.mark.parametrize("path", TRIED, ids=name)
async def test_the_blocks_of_a_page_run_in_their_order(request, path, tmp_path):
    text = path.read_text()
    if "two servers" in world(text):
        with two_servers() as (url, others):
            await run(text, trial(url, tmp_path, with_worker=False, others=others))
    else:
        url = request.getfixturevalue("empty_url" if "empty" in world(text) else "url")
        await run(text, trial(url, tmp_path, with_worker="worker" in world(text)))


@contextmanager
def two_servers():
    """The URL of a database on the one, and where a page has each of them."""
    logical = {"wal_level": "logical"}
    with running_server(**logical) as old, running_server(**logical) as new:
        urls = {f"postgresql://owner@{name}/app": server.create_database("app") for name, server in (("old", old), ("new", new))}
        yield old.url("app"), urls


async def run(text, opened):
    async with opened as trying:
        for block in blocks(text):
            if not block.not_run:
                await trying.run(block)


@pytest.mark.parametrize("path", MANUAL, ids=name)
def test_every_block_is_what_it_says(path):
    for block in blocks(path.read_text()):
        parses(block.language, block.code)


def parses(language, code):
    """Raises if the code is not of this language."""
    match language:
        case "sh":
            done = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
        case "python":
            ast.parse(code)
        case "toml":
            tomllib.loads(code)
        case "json":
            json.loads(code)
        case "ini":
            configparser.ConfigParser(strict=False, interpolation=None).read_string(code)
        case "dotenv":
            assert set(dotenv_values(stream=io.StringIO(code))) <= set(SETTINGS)
        case "yaml":
            assert not re.search(r"\t", code)
        case _:
            assert language in {*SHOWN, *RUN}, f"a block in {language or 'no language'}:\n{code}"


def test_few_blocks_are_not_run_and_each_says_why():
    reasons = Counter(block.not_run for path in MANUAL for block in blocks(path.read_text()) if block.not_run)
    assert all(len(reason.split()) > 2 for reason in reasons)
    assert sum(reasons.values()) <= NOT_RUN, reasons
