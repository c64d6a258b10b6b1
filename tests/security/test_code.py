"""What the package reads, and what it depends on."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_bytes()) for path in (ROOT / "cdp_orders_async").rglob("*.py")
}
RUNS = frozenset({"dill", "jsonpickle", "marshal", "pickle", "ruamel", "shelve", "yaml"})
"""Modules that run what they read, or may."""
CODE = frozenset({"__import__", "compile", "eval", "exec"})

PATCHED = {
    "aiohttp": (3, 14, 3),  # an answer in bad chunks was read past its end: GHSA-cq5v-8q36-5273, CVE-2026-69244
    "brotli": (1, 2, 0),  # what it unpacks could not be bounded: CVE-2025-6176
    "orjson": (3, 11, 6),  # deep data overran the stack: CVE-2025-67221
}
"""The oldest versions in which what advisories tell of is mended, as known on 2026-11-21."""


@pytest.mark.parametrize("module", MODULES)
def test_nothing_runs_what_it_reads(module: str) -> None:
    """No module imports what turns data into code, or calls it; ``re.compile`` and its like are methods."""
    found: list[str] = []
    for node in ast.walk(MODULES[module]):
        match node:
            case ast.Import(names):
                found += [alias.name for alias in names if alias.name.partition(".")[0] in RUNS]
            case ast.ImportFrom(module=str(name)):
                found += [name] if name.partition(".")[0] in RUNS else []
            case ast.Call(func=ast.Name(name)):
                found += [name] if name in CODE else []
            case _:
                pass
    assert found == []


def bounds(requirements: list[str]) -> dict[str, tuple[int, ...]]:
    """Return the lower bounds of requirements, by name."""
    found = (re.match(r"([\w.-]+)(?:\[[\w,]+\])?[^>]*>=([\d.]+)", requirement) for requirement in requirements)
    return {one[1].lower(): tuple(map(int, one[2].split("."))) for one in found if one}


def test_no_dependency_has_a_known_hole() -> None:
    """The oldest version that each dependency may have is one in which what is known to be dangerous is mended."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    lowest = bounds([*project["dependencies"], *(one for group in optional.values() for one in group)])
    assert {name: bound for name, bound in lowest.items() if bound < PATCHED.get(name, ())} == {}
    assert PATCHED.keys() <= lowest.keys()
    assert bounds(project["dependencies"]).keys() == {one.partition(">")[0] for one in project["dependencies"]}
