"""Ray and Arrow, as values without types: theirs are partly missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["RayError", "pa", "ray"]

try:
    pa: Any = import_module("pyarrow")
    ray: Any = import_module("ray")
    import_module("ray.data")
except ModuleNotFoundError as error:
    raise ImportError("Ray is an extra: pip install 'cdp-orders-async[ray]' (there is none for Python 3.15)") from error

RayError: type[Exception] = ray.exceptions.RayError
"""The base class of what Ray raises."""
