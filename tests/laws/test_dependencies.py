"""What is imported is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cdp_orders_async"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
ROOMS = {  # what each extra is for; the rest of the package imports the dependencies only
    "cli": ("__main__.py", "cli/", "reports/", "sources/"),
    "httptools": ("session/backends/",),
    "faststream": ("engines/faststream.py", "engines/streams.py", "engines/subscriber.py"),
    "otel": ("telemetry/otel.py",),
    "postgres": ("journal/postgres/", "pacing/postgres.py"),
    "ray": ("engines/ray",),
    "emulator": ("emulator/pages/",),
    "tables": ("sources/",),
    "dev": ("emulator/fixtures.py", "testing.py"),  # of those who have tests, and so a pytest
}
STANDARD = sys.stdlib_module_names | {"compression"}  # since 3.14
INSTALLED = packages_distributions()
FOR_PYTHON = {"tzdata": ("graph/zones.py", "import zoneinfo")}  # what Python reads, and where it is seen
OTHERWISE = {  # what nothing imports, and where it is seen that it is used
    "fastapi": ("cdp_orders_async/ingest/README.md", "from fastapi import"),
    "hatchling": ("tests/laws/test_packaging.py", '"-m", "hatchling", "build"'),
    "mypy": (".ci/run", "/mypy\n"),
    "pyright": (".ci/run", "/pyright "),
    "pytest-asyncio": ("pyproject.toml", "asyncio_mode"),
    "pytest-cov": (".ci/run", " --cov="),
    "pytest-xdist": (".ci/run", " -n "),
    "ruff": (".ci/run", "/ruff check\n"),
    "schemathesis": ("tests/conformance/test_emulator.py", "import schemathesis;"),
    "twine": ("tests/laws/test_packaging.py", '"-m", "twine", "check"'),
    "types-pyyaml": ("pyproject.toml", '"pyyaml>='),
    "uvicorn": ("tests/backends/serving.py", '"uvicorn"'),
}


def imports(paths: Iterable[Path]) -> set[str]:
    """Return what files import that is neither Python's nor lies beside them, wherever in them."""
    files = [path for path in paths if path.suffix == ".py"]
    own = {"cdp_orders_async", "tests", *(path.stem for path in files if path.parent.name == "benchmarks")}
    return {name for path in files for name in imported(path)} - own - STANDARD


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the first words of the modules that a file imports, by a statement or by name."""
    return frozenset(name.partition(".")[0] for name in _imported(ast.parse(path.read_bytes())))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(name)):
                yield name
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(name))],
            ):
                yield name
            case _:
                pass


def named(requirements: Iterable[str]) -> set[str]:
    """Return the projects that *requirements* name, other than this one."""
    names = (re.match(r"[\w.-]+", one) for one in requirements if one and one[0] not in "#\n")
    return {canonical(name[0]) for name in names if name} - {PROJECT["name"]}


def canonical(name: str) -> str:
    """Return the *name* of a project as indices write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def modules(project: str) -> set[str]:
    """Return what *project* is imported as, as it says where it is installed; elsewhere what its name suggests."""
    importable = ((module, projects) for module, projects in INSTALLED.items() if module.isidentifier())  # not x-stubs
    said = {module for module, projects in importable if project in map(canonical, projects)}
    return said or {project.replace("-", "_"), project.partition("-")[0]}


def known(projects: Iterable[str]) -> set[str]:
    """Return what can be imported where *projects* are installed."""
    return {module for project in projects for module in modules(project)}


def unused(projects: Iterable[str], found: set[str]) -> set[str]:
    """Return those of *projects* of which nothing is among what was *found*."""
    return {project for project in projects if not modules(project) & found}


def may_import(path: Path, extra: str) -> bool:
    """Tell whether a module of the package may import what *extra* brings."""
    return str(path.relative_to(PACKAGE)).startswith(ROOMS[extra])


def test_each_extra_has_its_rooms() -> None:
    """A new extra needs a row in the table."""
    assert ROOMS.keys() == EXTRAS.keys()


def test_package_imports_what_is_declared() -> None:
    """A module imports the dependencies and what the extra of its room brings, and nothing else."""
    always = known(named(PROJECT["dependencies"]))
    for path in PACKAGE.rglob("*.py"):
        brought = {module for extra in ROOMS if may_import(path, extra) for module in known(named(EXTRAS[extra]))}
        assert imports([path]) - always - brought == set(), path


def test_what_users_install_is_imported() -> None:
    """The package imports each dependency, and the room of each extra all that it brings."""
    assert unused(named(PROJECT["dependencies"]), imports(PACKAGE.rglob("*.py"))) == FOR_PYTHON.keys()
    assert all(use in (PACKAGE / path).read_text(encoding="utf-8") for path, use in FOR_PYTHON.values())
    for extra in EXTRAS.keys() - {"dev"}:
        room = (path for path in PACKAGE.rglob("*.py") if may_import(path, extra))
        assert unused(named(EXTRAS[extra]), imports(room)) == set(), extra


def test_dev_is_what_tests_and_checks_use() -> None:
    """Tests import only what is declared; what is declared for them they import, or it is seen what it is for."""
    peers = named((ROOT / "benchmarks" / "requirements.txt").read_text(encoding="utf-8").splitlines())
    declared = named([*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)])
    by_tests, by_benchmarks = (imports((ROOT / folder).rglob("*.py")) for folder in ("tests", "benchmarks"))
    assert by_tests - known(declared) == set()
    assert by_benchmarks - known(declared | peers) == set()
    clients = (ROOT / "benchmarks" / "peers.py").read_text(encoding="utf-8")
    # Some are imported by a name that is handed over.
    assert {peer for peer in unused(peers, by_benchmarks) if f'("{peer}", ' not in clients} == set()
    in_package = imports(path for path in PACKAGE.rglob("*.py") if may_import(path, "dev"))
    assert unused(named(EXTRAS["dev"]), by_tests | by_benchmarks | in_package) == OTHERWISE.keys()
    assert [name for name, (path, use) in OTHERWISE.items() if use not in (ROOT / path).read_text("utf-8")] == []
