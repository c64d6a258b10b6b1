"""All targets."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz import clients, commands, journals, reading, secrets, servers
from tests.fuzz.engine import Target

TARGETS: Sequence[Target] = (
    *reading.TARGETS,
    *commands.TARGETS,
    *secrets.TARGETS,
    *journals.TARGETS,
    *servers.TARGETS,
    *clients.TARGETS,
)
