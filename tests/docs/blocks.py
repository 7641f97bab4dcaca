"""The code of a page, block by block, with the page's instructions for testing it.

Comments that readers do not see may come before a block:

- `<!-- not run: REASON -->`: it is only parsed. test_blocks.py counts these.
- `<!-- exit: 1 -->`: the expected exit code.

A block inside a comment is run too, to prepare what the page assumes. For the page as a whole:

- `<!-- world: empty -->`: the database has no table yet. Otherwise it has the table contacts with all CRMs.
- `<!-- world: two servers -->`: two, with logical replication and an empty database app each, at `old` and at `new`.
- `<!-- world: worker -->`: a worker runs, and delivers to sandboxes.
- `<!-- then: SQL -->`: a condition that becomes true some time after the previous block.
"""

import re
from dataclasses import dataclass

_PARTS = re.compile(
    r"<!-- (?P<key>not run|exit|then): (?P<value>.*?) -->|^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """language: `then` for a condition to wait for. not_run: why it is only parsed; empty if it is run."""

    language: str
    code: str
    line: int
    not_run: str = ""
    exit: int = 0


def blocks(text: str) -> list[Block]:
    found, said = [], {}
    for part in _PARTS.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["key"] == "then":
            found.append(Block("then", part["value"], line))
        elif part["key"]:
            said[part["key"]] = part["value"]
        elif not part["language"].startswith("{"):
            code = re.sub(rf"^{part['indent']}", "", part["code"], flags=re.MULTILINE)
            found.append(Block(part["language"], code, line, said.pop("not run", ""), int(said.pop("exit", "0"))))
    return found


def world(text: str) -> set[str]:
    return set(re.findall(r"<!-- world: ([\w ]+) -->", text))
