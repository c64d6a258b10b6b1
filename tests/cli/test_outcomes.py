"""The file of outcomes of ``cdp-orders load``: it never takes the place of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import cdp_orders, lines_of, names, orders, watched, write


async def test_outcomes_of_earlier_runs_are_put_aside(tmp_path: Path) -> None:
    """Each run has a file of its own: the earlier ones go on under a number, also if this run comes to nothing."""
    source = write(tmp_path / "o.jsonl", orders(2))
    arguments = ("load", source, "--outcomes", "out.jsonl")
    async with watched() as server:
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        first = (tmp_path / "out.jsonl").read_bytes()
        wrong = {**server.environment, "CDP_API_TOKEN": "wrong"}
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=wrong)).status == 2
        assert (tmp_path / "out.jsonl").read_bytes() == first  # nothing came of any order, so there is no new one
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
        second = (tmp_path / "out.jsonl").read_bytes()
        assert (await cdp_orders(*arguments, "--journal", "j", cwd=tmp_path, env=wrong)).status == 2
    assert (tmp_path / "out.jsonl.1").read_bytes() == first
    assert (tmp_path / "out.jsonl.2").read_bytes() == second
    assert {one["verdict"] for one in lines_of(tmp_path / "out.jsonl.2")} == {"already"}
    assert {one["verdict"] for one in lines_of(tmp_path / "out.jsonl")} <= {"failed", "not_tried"}


@pytest.mark.parametrize(
    "content",
    [
        b'{"referenceId": "B-1", "orderedAt": "2024-01-01T16:17:16Z"}\n',
        b'{"number": 5, "verdict": "guilty"}\n',
        b"a,b\n1,2\n",
        b"\xff\xfe\x00",
        b"\n",
        b"[1]\n",
    ],
    ids=["orders", "others", "csv", "binary", "empty line", "array"],
)
async def test_what_is_no_file_of_outcomes_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that holds something else stays as it is, and nothing is sent."""
    (tmp_path / "export").write_bytes(content)
    arguments = ("load", write(tmp_path / "o.jsonl", orders(1)), "--outcomes", "export")
    async with watched() as server:
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert server.received == 0
    assert ran.refused("export: it holds something else")
    assert (tmp_path / "export").read_bytes() == content
    assert names(tmp_path) == ["export", "o.jsonl"]


async def test_empty_file_is_taken_for_outcomes(tmp_path: Path) -> None:
    """An empty file holds nothing to be lost, and becomes readable by its owner only."""
    empty = tmp_path / "out.jsonl"
    empty.touch(0o644)
    arguments = ("load", write(tmp_path / "o.jsonl", orders(1)), "--outcomes", "out.jsonl")
    async with watched() as server:
        assert (await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)).status == 0
    assert (len(lines_of(empty)), empty.stat().st_mode & 0o777) == (1, 0o600)
    assert not (tmp_path / "out.jsonl.1").exists()
