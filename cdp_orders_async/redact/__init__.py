"""Whatever keeps secrets and personal values out of texts: logs, errors, tracebacks, files.

`Opaque` holds a value that nothing shows. `sealed` is the boundary around what is public: nothing that is raised
through it has a frame of the library. `Secrets` masks what a server repeats of the credentials, and `told` leaves of
a server's words only those that can be nobody's.
"""

from __future__ import annotations

from cdp_orders_async.redact.answers import NO_SECRETS, Secrets, printable, told, words_in
from cdp_orders_async.redact.holding import Opaque, seal_methods, sealed, strip_frames, unsealed

__all__ = [
    "NO_SECRETS",
    "Opaque",
    "Secrets",
    "printable",
    "seal_methods",
    "sealed",
    "strip_frames",
    "told",
    "unsealed",
    "words_in",
]
