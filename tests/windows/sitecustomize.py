"""Makes each Python that starts with this folder on its path as poor as one of Windows, before it imports anything.

What Windows lacks is deleted from the modules in C too, so that the standard library takes the ways that it takes
there. What it needs to be imported here stays: ``os.name``, what waits for children, and ``os.sysconf``.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.windows.lacking import LOOP, MODULES, lacks

PLACES = {"posix": "os", "os": "os", "select": "select", "_signal": "signal", "_socket": "socket", "time": "time"}
"""The modules from which names go, each with the one that has them for a program."""
TICKS = 64
"""How often in a second the clocks move, as they do there until Python 3.12."""
FORBIDDEN = frozenset('<>:"|?*')
"""What no name of a file may have."""


def coarse(clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that stands still between two ticks."""
    return lambda: math.floor(clock() * TICKS) / TICKS


def refuse(event: str, args: tuple[Any, ...]) -> None:
    """Refuse what Windows refuses: some names, to open a folder, and to move or delete a file that is open."""
    path = Path(os.fsdecode(args[0])) if args and isinstance(args[0], str | bytes) else Path()
    if event == "open" and FORBIDDEN.intersection(str(path)):
        raise OSError(errno.EINVAL, "Invalid argument", str(path))
    if event == "open" and args[1] is None and path.is_dir():  # by os.open
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    if event in {"os.remove", "os.rename"}:
        opened = {number.resolve() for number in Path("/proc/self/fd").iterdir()}
        if path.resolve() in opened:
            raise PermissionError(errno.EACCES, "The process cannot access the file because it is in use", str(path))


def begin() -> None:
    """Make this process one of Windows."""
    assert not {"asyncio", "selectors", "signal", "socket"} & sys.modules.keys(), "it is too late"
    for place, module in PLACES.items():
        found = import_module(place)
        for name in [name for name in vars(found) if lacks(module, name) and not name.startswith("sysconf")]:
            delattr(found, name)
    delattr(import_module("_socket"), "socketpair")  # for which there is another one, in Python
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(MODULES))  # so that no import finds them
    change, info = os.chmod, time.get_clock_info

    def chmod(path: Any, mode: int, **given: Any) -> None:  # noqa: ANN401 the system's own
        change(path, 0o666 if mode & 0o200 else 0o444, **given)

    modules["os"].chmod = chmod
    modules["os"].process_cpu_count = os.cpu_count  # which Python 3.13 defines by what is gone
    time.monotonic, time.process_time = coarse(time.monotonic), coarse(time.process_time)
    time.get_clock_info = lambda name: SimpleNamespace(**{**vars(info(name)), "resolution": 1 / TICKS})
    sys.addaudithook(refuse)

    # Only now, so that they find nothing of what is gone.
    loops: list[type] = [
        import_module("asyncio").SelectorEventLoop,
        import_module("asyncio.selector_events").BaseSelectorEventLoop,
    ]
    for loop in loops:
        for method in LOOP & vars(loop).keys():
            delattr(loop, method)


begin()
