"""A module imports only from lower floors, TYPE_CHECKING blocks and imports inside functions counted."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = "cdp_orders_async"
FLOORS = {  # a folder has one floor, the name of the folder; in it any import goes that makes no circle
    **dict.fromkeys(("arguments", "models", "outlasting", "redact", "routes", "threads", "timings", "version"), 0),
    **dict.fromkeys(("errors", "kinds", "telemetry"), 1),
    **dict.fromkeys(("addresses", "journal", "rules", "wire"), 2),
    **dict.fromkeys(("graph", "pacing", "resources", "settings"), 3),
    **dict.fromkeys(("session", "sources"), 4),
    **dict.fromkeys(("client",), 5),
    **dict.fromkeys(("ingest",), 6),
    **dict.fromkeys(("emulator", "jobs"), 7),
    **dict.fromkeys(("engines", "reports", "testing"), 8),
    **dict.fromkeys(("__init__", "cli"), 9),
    **dict.fromkeys(("__main__",), 10),
}
USERS = {  # what comes from outside, and who may import it
    "aiohappyeyeballs": {"session"},
    "aiohttp": {"emulator", "session"},
    "anyio": {"jobs", "outlasting"},
    "asyncpg": {"journal", "pacing"},
    "cyclopts": {"__main__", "cli"},
    "duckdb": {"sources"},
    "faststream": {"engines"},
    "httptools": {"session"},
    "jinja2": {"emulator", "reports"},
    "opentelemetry": {"telemetry"},
    "platformdirs": {"cli"},
    "pyarrow": {"engines"},
    "ray": {"engines"},
    "redis": {"engines"},
    "rich": {"__main__", "cli"},
    "yarl": {"addresses", "session"},
}
NOT_AT_IMPORT = {"aiohttp.web", "sqlite3", *USERS} - {"aiohappyeyeballs", "aiohttp", "anyio", "yarl"}

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_bytes())
    for path in (ROOT / PACKAGE).rglob("*.py")
}


def imports(module: str) -> Iterator[str]:
    """Yield each module that *module* imports, wherever in it."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if name in MODULES else node.module for name in names}


def room(module: str) -> str:
    """Return the row of the table that *module* belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


GRAPH = {module: {name for name in imports(module) if name in MODULES} for module in MODULES}


def test_every_module_has_a_floor() -> None:
    """A new module needs a row in the table."""
    assert {room(module) for module in MODULES} <= FLOORS.keys()


def test_imports_go_down() -> None:
    """A module imports only from lower floors, or from its own folder."""
    edges = [(module, name) for module, names in GRAPH.items() for name in names if room(module) != room(name)]
    assert [edge for edge in edges if FLOORS[room(edge[1])] >= FLOORS[room(edge[0])]] == []


def test_imports_make_no_circle() -> None:
    """There is an order in which the modules can be read, each after what it imports."""
    TopologicalSorter(GRAPH).prepare()


def test_emulator_shares_only_the_routes() -> None:
    """The emulator is a witness of its own: it reaches the API's paths, and no model, rule or codec of the client."""
    reached, ahead = set[str](), {module for module in MODULES if room(module) == "emulator"}
    while ahead:
        reached |= ahead
        ahead = {name for module in ahead for name in GRAPH[module]} - reached
    assert {name for name in reached if room(name) != "emulator"} == {f"{PACKAGE}.routes"}


def test_pages_see_the_state_only() -> None:
    """The pages of the emulator do not see its API: no operation, no rule, no storage and not the server itself."""
    hidden = {f"{PACKAGE}.emulator.{name}" for name in ("app", "operations", "rules", "service", "storage", "threads")}
    pages = {module for module in MODULES if module.startswith(f"{PACKAGE}.emulator.pages")}
    assert len(pages) > 1
    assert {(module, name) for module in pages for name in GRAPH[module] & hidden} == set()


def test_dependencies_stay_in_their_rooms() -> None:
    """Only the session speaks HTTP on the client's side, and only the command line draws."""
    used = {(name.split(".")[0], room(module)) for module in MODULES for name in imports(module)}
    assert {(name, user) for name, user in used if user not in USERS.get(name, {user})} == set()


def test_import_is_light() -> None:
    """Importing the package loads no extra, nor aiohttp's server, nor what only a journal needs."""
    code = f"import sys, {PACKAGE}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert NOT_AT_IMPORT & set(loaded.split()) == set()
