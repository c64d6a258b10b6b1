"""The pages of the manual, and what is in them: blocks, tables, code."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = [
    "BLOCKS",
    "COMMANDS_PAGE",
    "FRONT",
    "MANUAL",
    "PAGES",
    "PROSE",
    "ROOT",
    "SPANS",
    "TEXT",
    "blocks",
    "code",
    "section",
    "table",
]

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "cdp_orders_async/README.md",
    "cdp_orders_async/engines/README.md",
    "cdp_orders_async/ingest/README.md",
    "cdp_orders_async/models/README.md",
    "cdp_orders_async/sources/README.md",
    "cdp_orders_async/telemetry/README.md",
    "cdp_orders_async/emulator/README.md",
    "tests/README.md",
    "benchmarks/README.md",
)
COMMANDS_PAGE = "cdp_orders_async/cli/README.md"
"""The page of the commands, whose examples build on one another: they are not among `BLOCKS`, nor is it in `MANUAL`."""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of *text*, each with its language."""
    return FENCED.findall(text)


def code(text: str) -> list[str]:
    """Return what is marked as code in *text*."""
    return re.findall(r"`([^`]+)`", text)


FRONT = (ROOT / "README.md").read_text(encoding="utf-8")
MANUAL = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
BLOCKS = blocks(MANUAL)
PROSE = FENCED.sub("", MANUAL)
"""Everything outside of blocks."""
TEXT = " ".join(PROSE.split())
"""The same without line breaks."""
SPANS = code(PROSE)


def section(heading: str, page: str = "README.md") -> str:
    """Return the text under the *heading* of a *page*, up to the next heading of its level or above."""
    level = heading.index(" ")
    (rest,) = (ROOT / page).read_text(encoding="utf-8").split(f"\n{heading}\n")[1:]
    return re.split(rf"^#{{1,{level}}} ", FENCED.sub(_indented, rest), maxsplit=1, flags=re.MULTILINE)[0].replace(
        "\0", ""
    )


def _indented(block: re.Match[str]) -> str:
    """Return a block in which no line begins as a heading does."""
    return re.sub(r"^#", "\0#", block[0], flags=re.MULTILINE)


def table(*head: str) -> list[list[str]]:
    """Return the cells of the one table whose head begins with the cells *head*."""
    (rest,) = MANUAL.split("\n|" + "".join(f" {cell} |" if cell else " |" for cell in head))[1:]
    rows = rest.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]
