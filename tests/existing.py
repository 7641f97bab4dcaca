"""Whether a test named in a table exists."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of the tests in a file, none if there is no such file."""
    file = ROOT / path
    if not file.exists():
        return frozenset()
    functions = (
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def missing(tests: tuple[str, ...]) -> list[str]:
    """Those that do not exist, given as `path::name` for one test and `path` for a file with any tests."""
    return [test for test in tests if not _exists(test)]


def _exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return name in names_in(path) if name else bool(names_in(path))
