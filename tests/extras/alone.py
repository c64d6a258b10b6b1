"""Run a program as if only some distributions were installed: ``python -P tests/extras/alone.py NAMES PROGRAM ...``.

NAMES are the distributions that can be imported beside this package, with commas between them. A namespace that
several distributions share is hidden only where all of them are.
"""

from __future__ import annotations

import re
import runpy
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType


def canonical(name: str) -> str:
    """Return the *name* of a distribution as indices write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Alone(PathFinder):
    """Finds no module that only a hidden distribution brings."""

    hidden: frozenset[str]

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module, unless it is hidden; a copy inside another distribution is not."""
        spec = super().find_spec(fullname, path, target)
        return None if fullname in cls.hidden and spec is not None and _is_top(spec) else spec


def _is_top(spec: ModuleSpec) -> bool:
    """Tell whether a module lies where distributions are installed, and not inside of one."""
    places = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    origins = [spec.origin, *(spec.submodule_search_locations or ())]
    return any(Path(origin).parent in places or Path(origin).parent.parent in places for origin in origins if origin)


def main(names: str, program: str, *arguments: str) -> None:
    """Hide what is not among *names*, then run *program*."""
    shown = {*names.split(","), "cdp-orders-async"}
    Alone.hidden = frozenset(
        module
        for module, distributions in packages_distributions().items()
        if shown.isdisjoint(map(canonical, distributions)) and module not in sys.modules
    )
    sys.meta_path[sys.meta_path.index(PathFinder)] = Alone
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


main(*sys.argv[1:])
