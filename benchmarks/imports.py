"""P9: how long the import takes, next to that of the libraries that it needs anyway."""

from __future__ import annotations

import random
import subprocess
import sys

from harness import Result, arguments, pin, ratios, tell

LIBRARIES = "aiohttp, attrs, cattrs, orjson"
VARIANTS = {"package": "cdp_orders_async", "libraries": LIBRARIES, "libraries again": LIBRARIES}


def seconds(names: str) -> float:
    """Return the CPU that importing *names* takes in a new interpreter, in milliseconds."""
    code = f"import time; t = time.process_time(); import {names}; print((time.process_time() - t) * 1000)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def main() -> None:
    """Measure and tell."""
    options = arguments(__doc__).parse_args()
    pin()
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    order = list(VARIANTS)
    for n in range(6 if options.quick else 31):
        random.Random(n).shuffle(order)  # noqa: S311 no secret
        for name in order:
            took = seconds(VARIANTS[name])
            if n:  # the first round fills the caches
                found[name].append(took)
    results = [
        Result.of("P9", f"import of the package / {LIBRARIES}", ratios(found["package"], found["libraries"]), most=1.15),
        Result.of("", "control: libraries / libraries", ratios(found["libraries again"], found["libraries"])),
        *(Result.of("", f"import of the {name}", values, "ms") for name, values in list(found.items())[:2]),
    ]
    tell("imports", options.out, results)


if __name__ == "__main__":
    main()
