"""The bad lines of an input, kept as they stood, and what is wrong with them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cdp_orders_async import InputError, InputLine
from cdp_orders_async.jobs import rejected
from cdp_orders_async.jobs.rejects import REASONS
from cdp_orders_async.sources import GraphFiles, jsonlines
from tests.cli.support import Json, lines_of, names

BAD = b' {"referenceId": "A-1", "orderedAt": "2024-01-01T16:17:16Z",  "n\xc3\xb6": 1}\r'
WORSE = b"\xff{"
GOOD = b'{"referenceId": "A-2", "orderedAt": "2024-01-01T16:17:16Z", "price": 50, "currencyCode": "EUR"}'


async def keep(source: Path, path: Path | None) -> list[InputLine]:
    """Keep the bad lines of *source* in *path*, and return them."""
    bad: list[InputLine] = []
    with rejected(path) as reject:
        async for line in GraphFiles([source]):
            if line.violations:
                reject(line)
                bad.append(line)
    return bad


def reasons(path: Path) -> list[Json]:
    """Return what is said of the lines in *path*."""
    return lines_of(path.with_name(path.name + REASONS))


async def test_bad_lines_are_kept_as_they_stood(tmp_path: Path) -> None:
    """Byte for byte, each ended by LF, with where it was, its key and all that is wrong; for the owner only."""
    source, path = tmp_path / "o.jsonl", tmp_path / "bad.jsonl"
    source.write_bytes(b"\n".join([GOOD, BAD, b"", WORSE, GOOD, BAD]))
    bad = await keep(source, path)
    assert path.read_bytes() == BAD + b"\n" + WORSE + b"\n" + BAD + b"\n"
    told = reasons(path)
    assert [(one["line"], one["number"], one["file"]) for one in told] == [
        (n, number, str(source)) for n, number in ((1, 2), (2, 4), (3, 6))
    ]
    assert [one["key"] for one in told] == ["A-1@2024-01-01T16:17:16+00:00", None, "A-1@2024-01-01T16:17:16+00:00"]
    assert [one["violations"] for one in told] == [
        [{"field": wrong.field, "rule": wrong.rule} for wrong in line.violations] for line in bad
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, path.with_name(path.name + REASONS))} == {0o600}
    assert [line.violations for line in await keep(path, None)] == [line.violations for line in bad]


async def test_no_bad_line_makes_no_file(tmp_path: Path) -> None:
    """Files are made with the first bad line; an earlier one stays until then."""
    source = tmp_path / "o.jsonl"
    source.write_bytes(GOOD)
    await keep(source, tmp_path / "bad")
    assert names(tmp_path) == ["o.jsonl"]


async def test_earlier_rejects_are_put_aside(tmp_path: Path) -> None:
    """Each run has files of its own; the earlier ones go on under a number that is free for both."""
    source, path = tmp_path / "o.jsonl", tmp_path / "bad"
    source.write_bytes(BAD + b"\n")
    await keep(source, path)
    (tmp_path / "bad.1.reasons.jsonl").touch()
    source.write_bytes(WORSE + b"\n")
    await keep(source, path)
    assert names(tmp_path) == [
        "bad",
        "bad.1.reasons.jsonl",
        "bad.2",
        "bad.2.reasons.jsonl",
        "bad.reasons.jsonl",
        "o.jsonl",
    ]
    assert ((tmp_path / "bad").read_bytes(), (tmp_path / "bad.2").read_bytes()) == (WORSE + b"\n", BAD + b"\n")
    assert len(reasons(path)) == len(reasons(tmp_path / "bad.2")) == 1


async def test_line_that_is_too_long_has_only_reasons(tmp_path: Path) -> None:
    """What was not read whole is not kept, and said."""
    source, path = tmp_path / "o.jsonl", tmp_path / "bad"
    source.write_bytes(b'{"a": "' + b"x" * (jsonlines.LONGEST_LINE + 10) + b'"}\n' + BAD + b"\n")
    await keep(source, path)
    assert path.read_bytes() == BAD + b"\n"
    assert [(one["line"], one["number"]) for one in reasons(path)] == [(None, 1), (1, 2)]


@pytest.mark.parametrize(("name", "content"), [("bad", GOOD), ("bad" + REASONS, GOOD), ("bad" + REASONS, b"\n")])
async def test_what_is_no_file_of_rejects_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """A file that holds something else stays as it is."""
    (tmp_path / name).write_bytes(content)
    with (
        pytest.raises(InputError, match=r"lines .*: it holds something else"),
        rejected(tmp_path / "bad"),
    ):
        pass
    assert (names(tmp_path), (tmp_path / name).read_bytes()) == ([name], content)


@pytest.mark.parametrize("name", ["bad", "bad" + REASONS])
async def test_links_are_refused(tmp_path: Path, name: str) -> None:
    """No link is followed, symbolic or hard, in whichever place."""
    (tmp_path / "other").touch()
    (tmp_path / name).symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match="a symbolic link"), rejected(tmp_path / "bad"):
        pass
    (tmp_path / name).unlink()
    os.link(tmp_path / "other", tmp_path / name)
    with pytest.raises(InputError, match="hard links"), rejected(tmp_path / "bad"):
        pass


async def test_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    """It is told before anything is read."""
    with (
        pytest.raises(InputError, match=r"the rejected lines cannot be written to .*: No such file"),
        rejected(tmp_path / "none" / "bad"),
    ):
        pass


async def test_device_is_refused() -> None:
    """No file is made beside a device."""
    with pytest.raises(InputError, match="it is not a regular file"), rejected(Path("/dev/full")):
        pass


async def test_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept ends the job."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    (tmp_path / "o.jsonl").write_bytes(BAD)
    with pytest.raises(InputError, match=r"the rejected lines cannot be written to .*bad: No space left"):
        await keep(tmp_path / "o.jsonl", tmp_path / "bad")
