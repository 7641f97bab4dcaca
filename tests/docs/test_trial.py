"""The test of the manual's blocks can fail: a block that does not work is noticed."""

import configparser

import pytest

from tests.docs.blocks import Block, blocks, world
from tests.docs.test_blocks import parses
from tests.docs.trial import Trial

PAGE = """\
# A page
<!-- world: empty -->
```sql
SELECT 1;
```
<!--
```sh
true
```
-->
<!-- then: 1 = 1 -->
1. A step:

   <!-- exit: 3 -->
   ```sh
   exit 3
   ```

<!-- not run: it needs a machine -->
```sh
reboot
```

```{toctree}
index
```
"""


@pytest.fixture
async def trying(url, tmp_path):
    trial = Trial(url, tmp_path, {})
    yield trial
    await trial.close()


def test_a_page_is_read_in_its_order_with_what_no_reader_sees():
    assert world(PAGE) == {"empty"}
    assert blocks(PAGE) == [
        Block("sql", "SELECT 1;\n", 3),
        Block("sh", "true\n", 7),
        Block("then", "1 = 1", 11),
        Block("sh", "exit 3\n", 15, exit=3),
        Block("sh", "reboot\n", 20, "it needs a machine"),
    ]


@pytest.mark.parametrize(
    "block",
    [
        Block("sh", "false\ntrue\n", 1),
        Block("sh", "false | true\n", 1),
        Block("sh", "echo fine\n", 1, exit=1),
        Block("sh", "crm-synk status\n", 1),
    ],
    ids=lambda block: block.code,
)
async def test_a_command_that_fails_fails_the_page(trying, block):
    with pytest.raises(AssertionError, match="line 1 exited with"):
        await trying.run(block)


async def test_sql_that_fails_fails_the_page(trying):
    with pytest.raises(Exception, match="nothing_like_it"):
        await trying.run(Block("sql", "SELECT nothing_like_it FROM contacts", 1))


async def test_what_a_block_exports_and_unsets_holds_for_the_next(trying):
    await trying.run(Block("sh", "export COLOUR=green\nunset COLUMNS\nmkdir here\n", 1))
    await trying.run(Block("sh", '[ "$COLOUR" = green ]\n[ -z "${COLUMNS+set}" ]\ncd here\n', 1))


async def test_the_owner_of_a_page_is_the_one_of_the_database(trying):
    await trying.run(Block("sh", 'psql "postgresql://owner@localhost/app" --command "SELECT count(*) FROM contacts"\n', 1))


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("sh", "if true; then\n"),
        ("python", "def broken(:\n"),
        ("toml", "a = \n"),
        ("json", "{"),
        ("ini", "no section\n"),
        ("dotenv", "BREVO_APIKEY=x\n"),
        ("yaml", "a:\n\tb: 1\n"),
        ("", "anything\n"),
        ("brainfuck", "+\n"),
    ],
)
def test_a_block_that_is_not_what_it_says_is_noticed(language, code):
    with pytest.raises((AssertionError, SyntaxError, ValueError, configparser.Error)):
        parses(language, code)
