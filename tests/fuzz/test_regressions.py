"""Every target bears some hundred inputs, and all those that once broke it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fuzz.engine import Target, hunt, pure, read_input
from tests.fuzz.run import main
from tests.fuzz.targets import TARGETS

INPUTS = Path(__file__).parent / "inputs"
KEPT = sorted(INPUTS.glob("*/*.json"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hundreds_of_inputs(target: Target) -> None:
    """Whatever comes, a target gives a value or its documented error, soon, and in little memory."""
    tried, findings = hunt(target, cases=300, start=1)
    assert tried == 300
    assert [finding.error for finding in findings] == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_inputs_that_were_found(target: Target) -> None:
    """What once broke a target does so no more."""
    kept = [path for path in KEPT if path.parent.name == target.name]
    with target.opened() as check:
        for path in kept:
            check(read_input(path))


def test_every_input_has_a_target() -> None:
    """No input lies where nobody tries it."""
    assert {path.parent.name for path in KEPT} <= {target.name for target in TARGETS}
    assert len(KEPT) >= 5


def test_a_planted_fault_is_found_and_made_short(tmp_path: Path) -> None:
    """The search finds what is wrong, gives each error once, short, and keeps it in a file that can be read again."""

    def check(data: bytes) -> None:
        assert b"\xff" not in data
        if data.count(b"a") > 2:
            raise ValueError("three of them")

    target = Target("planted", st.binary(max_size=20) | st.text("ab", max_size=20).map(str.encode), pure(check))
    tried, findings = hunt(target, cases=3000)
    assert tried == 3000
    assert sorted(finding.data for finding in findings) == [b"aaa", b"\xff"]
    assert [read_input(finding.write(tmp_path)) for finding in findings] == [finding.data for finding in findings]
    assert hunt(target, cases=3000) == (tried, findings)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a table, keeps what it found, and its status tells whether it found anything."""

    def check(data: bytes) -> None:
        if data.startswith(b"x"):
            raise ValueError("it is\nnot good")

    planted = [Target("bad", st.just(b"xyz"), pure(check), (), 0), Target("good", st.just(b""), pure(check), (), 0)]
    assert [main(0.01, [name], 1, tmp_path, planted) for name in ("good", "bad")] == [0, 1]
    assert [read_input(path) for path in tmp_path.glob("*/*.json")] == [b"x"]
    head, good, _, bad, where = capsys.readouterr().out.splitlines()
    assert head.split() == ["target", "cases", "a", "second", "findings"]
    assert (good.split()[0], good.split()[-1], bad.split()[0], bad.split()[-1]) == ("good", "0", "bad", "1")
    assert where.strip() == f"{tmp_path}/bad/1.json: ValueError: it is"
