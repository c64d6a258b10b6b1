"""Ray and Arrow, as values without types: theirs are partly missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["RayError", "pa", "ray"]

try:
    pa: Any = import_module("pyarrow")
    ray: Any = import_module("ray")  # it imports ray.data when that is first asked for: only a Dataset needs it
except ModuleNotFoundError as error:
    sentence = "Ray is an extra, for Python 3.11 to 3.14: pip install 'cdp-orders-async[ray]'"
    raise ImportError(sentence) from error

RayError: type[Exception] = ray.exceptions.RayError
"""The base class of what Ray raises."""
