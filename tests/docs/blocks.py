"""The code of a page, block by block, with what the page says of how it is tried.

Before a block may stand, in comments that no reader sees:
- `<!-- not run: REASON -->`: it is only parsed. The reasons are counted by test_blocks.py.
- `<!-- exit: 1 -->`: the exit code that is expected of it.
A block within a comment is run too: what the page takes for granted. Of the page as a whole:
- `<!-- world: empty -->`: the database has no table yet. Else it has the table contacts with all CRMs.
- `<!-- world: worker -->`: a worker runs, and delivers to sandboxes.
- `<!-- then: SQL -->`: what comes true within a while, after the block before it.
"""

import re
from dataclasses import dataclass

_PARTS = re.compile(
    r"<!-- (?P<key>not run|exit|then): (?P<value>.*?) -->|^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """language: `then` for what is waited for. not_run: why it is only parsed; empty if it is run."""

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
    return set(re.findall(r"<!-- world: (\w+) -->", text))
