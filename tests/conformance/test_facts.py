"""The table of facts names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS / "data" / "facts.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| fact |", "| open point |"))
]


def test_every_fact_has_a_test() -> None:
    """Each row says something, where it stands or what is assumed, and names tests that are there."""
    missing: list[str] = []
    for row in ROWS:
        fact, source, named = row
        assert fact
        assert source
        tests = re.findall(r"`tests/([\w/]+\.py)::(\w+)`", named)
        assert named == " ".join(f"`tests/{file}::{test}`" for file, test in tests) != ""
        for file, test in tests:
            path = TESTS / file
            if not path.is_file() or f"def {test}(" not in path.read_text(encoding="utf-8"):
                missing.append(f"{file}::{test}")
    assert missing == []


def test_every_open_point_is_there() -> None:
    """Each of the open points has its row, under its number."""
    numbers = [int(found[1]) for row in ROWS if (found := re.match(r"(\d+): ", row[0]))]
    assert numbers == list(range(1, 14))
