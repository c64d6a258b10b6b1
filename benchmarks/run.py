"""All benchmarks: ``python benchmarks/run.py [NAME ...] [--quick] [--out DIR]``.

Runs them one after the other, then makes one table and the pictures of all results in the folder, also of those that
were measured earlier. Needs what `requirements.txt` lists.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from harness import HERE, Point, Result, arguments
from plots import draw

NAMES = ("calls", "tls", "codec", "loader", "limiter", "little", "memory", "imports", "governor", "limits", "otel")


def table(results: Iterable[Result]) -> str:
    """Return a markdown table: the goals by number, then what helps to judge them."""
    lines = ["| goal | what | asked | measured | middle half of the rounds | met |", "| --- " * 6 + "|"]
    lines += [
        f"| {one.goal} | {one.what} | {one.asked} | {one.value:,.4g} {one.unit} "
        f"| {one.low:,.4g} to {one.high:,.4g} | {one.met} |"
        for one in sorted(results, key=lambda one: one.goal or "Q")
    ]
    return "\n".join(lines)


def sum_up(out: Path) -> None:
    """Write the table and the pictures of what is in the folder *out*."""
    files = [path for name in NAMES if (path := out / f"{name}.jsonl").exists()]
    rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    points = [Point(**row["point"]) for row in rows if "point" in row]
    machines: list[dict[str, str]] = [row["machine"] for row in rows if "machine" in row]
    loads = sorted(float(machine["load"]) for machine in machines)
    where = f"{machines[-1]['machine']}; {machines[-1]['python']}; load {loads[0]:g} to {loads[-1]:g}"
    report = table(Result(**row["result"]) for row in rows if "result" in row)
    report += f"\n\n{where}; {machines[-1]['packages']}.\n"
    (out / "results.md").write_text(report)
    drawn = draw(points, out, where) if find_spec("matplotlib") else []
    print(f"\n{report}\nWritten to {out}: {', '.join(['results.md', *drawn])}")


def main() -> int:
    """Run, then sum up; return the exit status: 1 if a benchmark broke."""
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    options = parser.parse_args()
    broken: list[str] = []
    for name in options.names or NAMES:
        print(f"\n{name}", flush=True)
        command = [sys.executable, HERE / f"{name}.py", "--out", options.out, *(["--quick"] if options.quick else [])]
        if subprocess.run(command, check=False).returncode:  # noqa: S603 those beside this file
            broken.append(name)
    if len(broken) < len(options.names or NAMES):
        sum_up(options.out)
    if broken:
        print(f"broken: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
