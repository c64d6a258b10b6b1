"""The extras of the package, the program that uses each, and what it needs."""

from __future__ import annotations

import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.databases import PostgresServer
from tests.engines.brokers import redis_server

__all__ = ["EXTRAS", "NONE", "ROOT", "arguments", "closure", "program", "warnings_of"]

ROOT: Final = Path(__file__).parents[2]
_PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Final[dict[str, list[str]]] = {
    extra: needs for extra, needs in sorted(_PROJECT["optional-dependencies"].items()) if extra != "dev"
}
"""The requirements of each extra for users."""
NONE: Final = "none"
"""The name of an installation without an extra."""


def program(extra: str) -> Path:
    """Return the program that uses *extra*, and nothing of the other extras."""
    return Path(__file__).with_name("without.py" if extra == NONE else f"with_{extra}.py")


def warnings_of(extra: str) -> str:
    """Return what Python does with warnings in the program of *extra*, as in its option ``-W``."""
    return "default" if extra == "ray" else "error"  # Ray uses what it has deprecated itself


@contextmanager
def arguments(extra: str, folder: Path) -> Generator[tuple[str, ...], None, None]:
    """Give the arguments of the program of *extra*: the address of a server that runs meanwhile."""
    if extra == "postgres":
        server = PostgresServer()
        try:
            server.start()
            yield (server.dsn(),)
        finally:
            server.remove()
    elif extra == "faststream":
        with redis_server(folder) as redis:
            yield (redis.url,)
    else:
        yield ()


def closure(extra: str) -> set[str]:
    """Return the names of all distributions that the package with *extra* installs, as this environment has them."""
    ahead = [Requirement(text) for text in (*_PROJECT["dependencies"], *EXTRAS.get(extra, ()))]
    seen: set[tuple[str, str]] = set()
    while ahead:
        requirement = ahead.pop()
        for wanted in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                ahead += [one for one in map(Requirement, _needs(name)) if _holds(one, wanted)]
    return {name for name, _ in seen}


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _needs(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another Python or system
        return []
