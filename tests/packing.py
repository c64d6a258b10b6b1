"""zstd, which is in the standard library from Python 3.14 on."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    import backports.zstd as zstd  # noqa: PLR0402 in the other form, the types are not found

__all__ = ["zstd"]
