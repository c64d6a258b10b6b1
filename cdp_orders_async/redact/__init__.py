"""Keep secrets and personal values out of texts: logs, errors, tracebacks, files.

`Opaque` holds a value that no text shows. `sealed` is the boundary around the public functions: an exception that
passes it has no frame of the library. `Secrets` masks the credentials that a server repeats. `mask_unknown_words`
keeps only those words of a server that cannot be a value of a person.
"""

from __future__ import annotations

from cdp_orders_async.redact.answers import NO_SECRETS, Secrets, collect_words, mask_unknown_words, printable
from cdp_orders_async.redact.holding import Opaque, seal_methods, sealed, strip_frames, unsealed

__all__ = [
    "NO_SECRETS",
    "Opaque",
    "Secrets",
    "collect_words",
    "mask_unknown_words",
    "printable",
    "seal_methods",
    "sealed",
    "strip_frames",
    "unsealed",
]
