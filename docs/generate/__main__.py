"""Writes the generated parts of docs/reference/: `python -m docs.generate`, or compares them: `--check`.

A page has hand-written text around parts between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. The pages of
failure codes are generated as a whole.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate import codes, columns, commands, events, exit_codes, metrics, settings, sql

DOCS = Path(__file__).parents[1]
PARTS: Mapping[str, Callable[[], str]] = {
    **codes.PARTS,
    **columns.PARTS,
    **commands.PARTS,
    **events.PARTS,
    **exit_codes.PARTS,
    **metrics.PARTS,
    **settings.PARTS,
    **sql.PARTS,
}
_PART = re.compile(r"(<!-- generated: ([a-z0-9-]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def generated() -> dict[Path, str | None]:
    """Every page with its text as it should be; None for one that should not be there. Raises KeyError for an unknown part."""
    made: dict[Path, str | None] = {
        path: _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]().strip()}\n\n{part[3]}", path.read_text(encoding="utf-8"))
        for path in sorted(DOCS.glob("reference/*.md"))
    }
    folder = DOCS / "reference" / "codes"
    pages = {folder / f"{name}.md": text for name, text in codes.pages().items()}
    return {**made, **dict.fromkeys(folder.glob("*.md"), None), **pages}


def main(arguments: list[str]) -> int:
    stale = []
    for path, text in generated().items():
        if text == (path.read_text(encoding="utf-8") if path.exists() else None):
            continue
        stale.append(str(path.relative_to(DOCS.parent)))
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True) if text is None else path.write_text(text, encoding="utf-8")
    if "--check" not in arguments:
        return 0
    if stale:
        print("These pages differ from the code:", *stale, "Run: make reference", sep="\n  ")
        return 1
    print("Reference pages: as the code has them.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
