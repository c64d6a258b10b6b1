"""The table of kinds of inputs names tests that are collected."""

from __future__ import annotations

import re
import subprocess
import sys
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


def test_every_test_is_collected() -> None:
    """Each test that a row names is one that pytest finds."""
    named = {test.strip("`") for _, test in ROWS}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    collected = {line.partition("[")[0] for line in found.splitlines() if "::" in line}
    assert named - collected == set()
