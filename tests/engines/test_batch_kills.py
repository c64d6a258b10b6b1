"""A load over the Batch API that is killed before each of its steps, and resumed: nothing is lost or doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO

import pytest

from cdp_orders_async.emulator import Emulator, in_thread
from tests.cli.support import TOKEN, orders, write
from tests.engines.dying import DEAD
from tests.engines.support import importable, twice

THREE = [importable(order) for order in orders(3)]
ROOT = Path(__file__).parents[2]


def ask(process: subprocess.Popen[str], folder: Path, step: int) -> tuple[int, int]:
    """Run a load that dies at a *step*; return its status, and how many steps it began."""
    commands: IO[str] | None = process.stdin
    answers: IO[str] | None = process.stdout
    assert commands is not None
    assert answers is not None
    commands.write(f"{folder} {step}\n")
    commands.flush()
    status, began = answers.readline().split()
    return int(status), int(began)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a load dies in a fork")
def test_killed_at_each_step_and_resumed(tmp_path: Path) -> None:
    """The store of the server holds each order once, whatever the step; and no record was taken twice."""
    server = Emulator(api_token=TOKEN)
    with in_thread(server) as served:
        command = (sys.executable, "-m", "tests.engines.dying", served.base_url)
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            step = steps = 0
            ends = Counter[int]()
            while True:
                folder = tmp_path / str(step)
                folder.mkdir()
                write(folder / "o.jsonl", THREE)
                served.reset()
                status, began = ask(process, folder, step)
                ends[status] += 1
                if step:
                    assert (status, began) == (DEAD, step)
                    assert ask(process, folder, 0)[0] == 0, step
                assert there(server) == {f"B-{n}": 1 for n in range(3)}, step
                assert (len(list(server.store.all("items"))), twice(server)) == (3, {}), step
                if not step:
                    steps = began
                if step == steps:
                    break
                step += 1
            assert process.stdin is not None
            process.stdin.close()
    assert ends == {0: 1, DEAD: steps}
    assert steps > 20


def there(server: Emulator) -> Counter[str]:
    """Return how often a server has each order."""
    return Counter(str(order.data["referenceId"]) for order in server.store.all("orders"))
