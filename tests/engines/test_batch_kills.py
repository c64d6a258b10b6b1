"""A load over the Batch API that is killed before each of its steps, and resumed: nothing is lost or doubled."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from cdp_orders_async.emulator import Emulator, in_thread
from tests.cli.support import TOKEN, orders, write
from tests.engines.batch_campaign import campaign
from tests.engines.dying import DEAD, ask, dying
from tests.engines.support import importable, there, twice

THREE = [importable(order) for order in orders(3)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a load dies in a fork")
def test_killed_at_each_step_and_resumed(tmp_path: Path) -> None:
    """The store of the server holds each order once, whatever the step; and no record was taken twice."""
    server = Emulator(api_token=TOKEN)
    with in_thread(server) as served, dying(served.base_url) as process:
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
    assert ends == {0: 1, DEAD: steps}
    assert steps > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a load dies in a fork")
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Loads that die at random steps, with answers that are lost, and with lines that come in between."""
    figures = campaign(tmp_path, lives=8, seed=1)
    assert figures.exact, figures
