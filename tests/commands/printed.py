"""What `crm-sync preview` and `sync` print, parsed: their requests, and the wire that these are compared with."""

import json
import re
from dataclasses import dataclass
from typing import Any

from crm_sync.sandbox.server import CONTROL, Sandbox

METHODS = "GET|POST|PUT|PATCH|DELETE"


@dataclass(frozen=True)
class Printed:
    method: str
    url: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Heard:
    """A request as it came over the wire. target: path and query, verbatim."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def requests(text: str) -> dict[str, list[Printed]]:
    """By assumption; "" if nothing is assumed."""
    found: dict[str, list[Printed]] = {"": []}
    case, headers = "", {}
    for block in re.split(rf"\n(?=  (?:If |(?:{METHODS}) ))", text):
        lines = block.splitlines()
        if assumed := re.fullmatch(r"  (If .*?)(?:, nothing more is sent.*|:)", lines[0]):
            case = assumed[1]
            found[case] = []
        elif first := re.fullmatch(rf"  ({METHODS}) (\S+)", lines[0]):
            told = dict(re.findall(r"^    ([\w-]+): (.*)$", block.partition("\n\n")[0], re.MULTILINE))
            headers = headers | told if "(and the headers above)" in block else told
            found[case].append(Printed(first[1], first[2], headers, _body(block)))
    return found


def _body(block: str) -> Any:
    _, _, rest = block.partition("\n\n")
    lines = []
    for line in rest.splitlines():
        if not line.startswith("    "):
            break
        lines.append(line)
    return json.loads("\n".join(lines)) if lines else None


def tapped(sandbox: Sandbox) -> list[Heard]:
    """From now on, every request to the sandbox, byte by byte. To be called before it starts."""
    heard: list[Heard] = []
    serve = sandbox.serve

    async def listening(request):
        if not request.path.startswith(CONTROL):
            heard.append(Heard(request.method, request.raw_path, dict(request.headers), await request.read()))
        return await serve(request)

    sandbox.serve = listening
    return heard
