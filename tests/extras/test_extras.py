"""Each extra works where no other extra is installed; without it, one sentence says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras.programs import EXTRAS, NONE, ROOT, arguments, closure, program, warnings_of

HERE = [extra for extra in EXTRAS if extra != "ray" or sys.version_info < (3, 15)]
"""The extras that this version of Python can have: Ray and pyarrow have nothing for 3.15 yet."""


def test_each_extra_has_its_program() -> None:
    """A new extra needs a program that uses it, and a sentence where it is missing."""
    assert {path.stem.removeprefix("with_") for path in program(NONE).parent.glob("with_*.py")} == EXTRAS.keys()
    sentences = program(NONE).read_text(encoding="utf-8")
    assert [extra for extra in EXTRAS if f'"{extra}", ' not in sentences] == []


@pytest.mark.parametrize("extra", [NONE, *HERE])
def test_extra_alone(extra: str, tmp_path: Path) -> None:
    """A program works where nothing is installed except the dependencies and what its extra brings."""
    command = [sys.executable, "-P", str(program(extra).with_name("alone.py")), ",".join(closure(extra))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": warnings_of(extra)}
    with arguments(extra, tmp_path) as given:
        ran = subprocess.run(
            [*command, str(program(extra)), *given],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
