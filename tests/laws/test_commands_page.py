"""The page of the commands: each example runs, in their order, and each command has its section."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from cdp_orders_async.cli import app, main
from tests.cli.support import Ran, Watched, cdp_orders, orders, watched, write
from tests.engines.support import importable
from tests.laws.pages import COMMANDS_PAGE, ROOT, blocks

PAGE = (ROOT / COMMANDS_PAGE).read_text(encoding="utf-8")
LINES = [line for language, text in blocks(PAGE) if language == "sh" for line in text.splitlines()]
(PROFILES,) = (text for language, text in blocks(PAGE) if language == "toml")
SECTIONS = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
OPTIONS = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
WITHOUT_SECTION = {"demo", "emulator"}
"""Commands that the front page and the emulator's page describe."""
ASKS = ("undo", "journal forget")
"""Commands that do nothing where nobody can be asked."""


async def shell(line: str, folder: Path, server: Watched) -> Ran:
    """Run a line of the page in *folder*, against *server*."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if shutil.which("jq") is None:
        line = line.partition(" | jq")[0]
    env = {**server.environment, "PATH": path, "HOME": str(folder), "CDP_CONFIG": str(folder / "config.toml")}
    return await cdp_orders(cwd=folder, env=env, command=("sh", "-c", line.replace(" --region eu", "")))


def name_of(line: str) -> str:
    """Return the command of a line, with its subcommand."""
    return " ".join(word for word in line.split()[1:3] if re.fullmatch(r"[a-z-]*[a-z]", word))


async def test_each_example_runs(tmp_path: Path) -> None:
    """In the order of the page; those that ask say so, and then do it with --yes."""
    first, *rest = orders(3)
    write(tmp_path / "orders.jsonl", [{**first, "referenceId": "B94TXY-1"}, *rest])
    others = [{**importable(order), "referenceId": f"C-{n}"} for n, order in enumerate(orders(4))]
    (tmp_path / "2024").mkdir()
    write(tmp_path / "2024" / "may.jsonl", others[:2])
    for n, name in enumerate(("2023", "2024-01")):
        packed = gzip.compress(write(tmp_path / "plain", others[2 + n :][:1]).read_bytes())
        (tmp_path / f"{name}.jsonl.gz").write_bytes(packed)
    (tmp_path / "config.toml").write_text(PROFILES)
    (tmp_path / "config.toml").chmod(0o600)
    (tmp_path / ".local/share/bash-completion/completions").mkdir(parents=True)
    async with watched() as server:
        load = "cdp-orders load orders.jsonl"
        assert (await shell(load, tmp_path, server)).status == 0
        for line in LINES:
            if name_of(line) == "journal show":  # of what was undone, the journal knows nothing
                assert (await shell(load, tmp_path, server)).status == 0
            ran = await shell(line, tmp_path, server)
            if name_of(line).startswith(ASKS):
                assert ran.status == 2, ran.err
                assert "add --yes" in ran.err
                ran = await shell(f"{line} --yes", tmp_path, server)
            assert ran.status == 0, (line, ran.err)


def test_each_command_has_a_section() -> None:
    """And no section is of a command that there is not."""
    commands = {name for name in app if not name.startswith("-")} - WITHOUT_SECTION
    single = {name for name in commands if name in {"orders", "items", "contacts", "consumers"} or "extensions" in name}
    assert set(SECTIONS) == (commands - single) | {"Single things"}


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "Single things"])
def test_options_of_a_section_are_those_of_its_command(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option that a section names is in the help of a command."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    known: set[str] = set()
    commands = (
        "load",
        "plan",
        "verify",
        "report",
        "retry",
        "undo",
        "journal show",
        "journal forget",
        "config",
        "sample",
    )
    for command in commands:
        assert main([*command.split(), "--help"]) == 0
        known.update(OPTIONS.findall(capsys.readouterr().out))
    assert set(OPTIONS.findall(text)) <= known


def test_profile_is_toml() -> None:
    """The example of a profile can be read."""
    assert tomllib.loads(PROFILES)["profiles"].keys() == {"production"}
