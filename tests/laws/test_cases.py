"""The table of kinds of inputs names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
    for line in (ROOT / "tests" / "data" / "cases.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| kind |"))
]


def test_every_row_is_filled() -> None:
    """A row is a theme with a title of its own, and one test by its file and name."""
    assert ROWS
    for row in ROWS:
        kind, test = row
        assert re.fullmatch(r"[a-z ]+: \S.*", kind), row
        assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", test), row
    assert len({kind for kind, _ in ROWS}) == len(ROWS)


def test_every_test_is_there() -> None:
    """Each test that a row names is a function of its file."""
    named = {test.strip("`") for _, test in ROWS}
    files = {test.partition("::")[0] for test in named}
    there = {f"{file}::{name}" for file in files for name in functions(ROOT / file)}
    assert named - there == set()


def functions(path: Path) -> set[str]:
    """Return the names of the functions of a module."""
    found = ast.parse(path.read_bytes()).body
    return {node.name for node in found if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
