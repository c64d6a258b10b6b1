"""The table of measures names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (TESTS / "data" / "security.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("|")][2:]


def test_every_measure_has_a_test() -> None:
    """Each row says a measure, and names tests that are there."""
    missing: list[str] = []
    for measure, named in ROWS:
        assert measure.strip()
        tests = re.findall(r"`tests/([\w/]+\.py)::(\w+)`", named)
        assert named.strip() == " ".join(f"`tests/{file}::{test}`" for file, test in tests) != ""
        for file, test in tests:
            path = TESTS / file
            if not path.is_file() or f"def {test}(" not in path.read_text(encoding="utf-8"):
                missing.append(f"{file}::{test}")
    assert missing == []


def test_every_test_holds_a_measure() -> None:
    """No test of this folder is left out of the table."""
    for path in Path(__file__).parent.glob("test_*.py"):
        if path != Path(__file__):
            for test in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
                assert f"`tests/security/{path.name}::{test}`" in TABLE
