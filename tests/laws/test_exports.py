"""The public names: complete, sorted and documented."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import cdp_orders_async
from cdp_orders_async import errors, models

PACKAGE = Path(cdp_orders_async.__file__).parent


def exports(path: Path) -> list[str]:
    """Return ``__all__`` of a module without importing it, since its extra may be missing."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def order(name: str) -> tuple[bool, bool, str]:
    """Sort constants first, then classes, then functions, as ruff does."""
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_are_sorted_and_public(path: Path) -> None:
    """Each ``__all__`` is sorted, names nothing twice and nothing private."""
    names = exports(path)
    assert names == sorted(set(names), key=order)
    assert [name for name in names if name.startswith("_")] == []


def test_package_exports_what_it_imports() -> None:
    """What ``__init__`` imports from its modules is what it exports, and every name is there."""
    body = ast.parse((PACKAGE / "__init__.py").read_bytes()).body
    imported = [
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdp_orders_async")
        for alias in node.names
        if not (alias.asname or "").startswith("_")
    ]
    assert imported != []
    assert sorted(imported) == sorted(cdp_orders_async.__all__)
    assert [name for name in cdp_orders_async.__all__ if not hasattr(cdp_orders_async, name)] == []


def test_package_exports_all_errors_and_models() -> None:
    """Whatever can be raised, sent or returned can be named from the package."""
    assert {*errors.__all__, *models.__all__} - set(cdp_orders_async.__all__) == set()


def test_exports_are_documented() -> None:
    """Every exported class and function has a docstring, and so has every public method."""
    bare: list[str] = []
    for name in cdp_orders_async.__all__:
        value: object = getattr(cdp_orders_async, name)
        if inspect.isclass(value):
            methods = (name for name, found in vars(value).items() if callable(found) or isinstance(found, property))
            documented = [
                (f"{value.__name__}.{method}", getattr(value, method)) for method in methods if method[0] != "_"
            ]
            bare += [where for where, method in documented if not inspect.getdoc(method)]
        if (inspect.isclass(value) or inspect.isfunction(value)) and not value.__doc__:
            bare.append(name)
    assert bare == []


@pytest.mark.parametrize(("old", "new"), list(vars(cdp_orders_async)["_RENAMED"].items()))
def test_old_names_warn(old: str, new: type) -> None:
    """A name that was public works for one release more, with a warning that tells the new one."""
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new.__name__}"):
        assert getattr(cdp_orders_async, old) is new
