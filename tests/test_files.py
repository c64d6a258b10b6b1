"""The orders of several files, and what a person may name."""

from __future__ import annotations

import gzip
import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdp_orders_async import InputError
from cdp_orders_async.kinds import V2
from cdp_orders_async.sources import GraphFiles, jsonlines
from tests.packing import zstd

ORDER = b'{"referenceId": "A-%d", "orderedAt": "2024-01-01T16:17:16Z", "price": 50, "currencyCode": "EUR"}'
BAD = b' {"referenceId": "A-1", "price": -1} \r'
PACKS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}


def lines(*numbers: int) -> bytes:
    """Return the lines of orders with these numbers."""
    return b"".join(ORDER % number + b"\n" for number in numbers)


async def keys(files: GraphFiles) -> list[tuple[str, int, str]]:
    """Return the file, the number and the reference id of each line."""
    return [(Path(line.file).name, line.number, (line.key or "").partition("@")[0]) async for line in files]


@pytest.mark.parametrize(
    ("version", "what"),
    [
        ((3, 13), r"an extra: pip install 'cdp-orders-async\[cli\]'"),
        ((3, 14), r"a Python that was built with it: unpack it first \(zstd -d\)"),
    ],
)
async def test_what_unpacks_zstd_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], what: str
) -> None:
    """One sentence says what to install. From Python 3.14 on it is a part of Python, which some builds lack."""
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> ModuleType:
        if name.endswith("zstd"):
            raise ModuleNotFoundError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    monkeypatch.setattr(jsonlines, "sys", SimpleNamespace(version_info=version))
    path = tmp_path / "orders"
    path.write_bytes(zstd.compress(lines(1)))
    with pytest.raises(InputError, match=f"orders cannot be read: it is packed by zstd, which needs {what}$"):
        await keys(GraphFiles([path]))


@pytest.mark.parametrize("names", list(itertools.permutations(PACKS, 2)))
async def test_number_of_lines_is_not_guessed_from_a_file_of_another_packing(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """Of files that are packed in different ways, one says nothing of the lines of the other, whose bytes differ."""
    paths = [tmp_path / f"{number}.jsonl{packing}" for number, packing in enumerate(names)]
    for path, packing in zip(paths, names, strict=True):
        path.write_bytes(PACKS[packing](lines(*range(20_000))))
    (empty := tmp_path / "empty.jsonl").touch()
    files = GraphFiles([*paths, empty])
    guesses = {(line.file == str(paths[0]), files.expected_lines) async for line in files}
    assert {count for first, count in guesses if first} == {None}
    assert all(20_000 < count < 60_000 for first, count in guesses if not first and count is not None)
    assert files.expected_lines == pytest.approx(40_000, rel=0.1)


@pytest.mark.parametrize("suffix", PACKS)
async def test_a_packed_file_is_read(tmp_path: Path, suffix: str) -> None:
    """Plain, gzip and zstd are told by the first bytes, whatever the name says."""
    path = tmp_path / "orders"
    path.write_bytes(PACKS[suffix](lines(*range(1, 200))))
    files = GraphFiles([path])
    assert await keys(files) == [("orders", n, f"A-{n}") for n in range(1, 200)]
    assert files.name == str(path)
    assert files.fraction == 1.0


async def test_frames_of_zstd(tmp_path: Path) -> None:
    """All frames are read, also behind one that is skipped."""
    path = tmp_path / "orders.jsonl.zst"
    skipped = b"\x50\x2a\x4d\x18\x01\0\0\0\n"
    path.write_bytes(skipped + zstd.compress(lines(1)) + skipped + zstd.compress(lines(2)))
    assert [number for _, number, _ in await keys(GraphFiles([path]))] == [1, 2]


async def test_zstd_with_a_window_that_is_too_wide(tmp_path: Path) -> None:
    """A file that needs more memory than zstd allows is not called damaged: the sentence says how to unpack it."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 31})
    path = tmp_path / "orders.zst"
    path.write_bytes(packer.compress(lines(1)) + packer.flush())
    with pytest.raises(InputError, match=r"window above 128 MiB: unpack it first \(zstd -d --long=31\)$"):
        await keys(GraphFiles([path]))


async def test_names_globs_and_folders(tmp_path: Path) -> None:
    """They are read in the order in which they are named, those of a glob or a folder by name, and each once."""
    folder = tmp_path / "2024" / "may"
    folder.mkdir(parents=True)
    for n, suffix in enumerate(PACKS, 1):
        (folder / f"{n}.jsonl{suffix}").write_bytes(PACKS[suffix](lines(n)))
    (folder / "notes.txt").write_text("no orders")
    for hidden in (folder / "._1.jsonl", folder / ".old" / "7.jsonl"):  # as other programs leave them
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(lines(7))
    (tmp_path / "b.jsonl").write_bytes(lines(8))
    (tmp_path / "a[1].ndjson").write_bytes(lines(9))
    all_of_it = [("1.jsonl", 1, "A-1"), ("2.jsonl.gz", 1, "A-2"), ("3.jsonl.zst", 1, "A-3")]
    assert await keys(GraphFiles([tmp_path / "b.jsonl", tmp_path / "2024"])) == [("b.jsonl", 1, "A-8"), *all_of_it]
    assert await keys(GraphFiles([f"{tmp_path}/**/[12].jsonl*", folder])) == all_of_it
    files = GraphFiles([tmp_path / "a[1].ndjson", folder / ".." / "may" / "1.jsonl", folder / "1.jsonl"])
    assert [name for name, _, _ in await keys(files)] == ["a[1].ndjson", "1.jsonl"]
    assert files.name == "2 files"
    assert files.fraction == 1.0


async def test_what_cannot_be_read(tmp_path: Path) -> None:
    """It is told before any line is read."""
    (tmp_path / "good.jsonl").write_bytes(lines(1))
    (tmp_path / "empty").mkdir()
    for named, words in (
        ("absent.jsonl", "absent.jsonl cannot be read: No such file or directory"),
        ("*.zip", r"no file has a name like .*\*\.zip"),
        ("empty", r"the folder .*empty holds no file whose name ends in \.jsonl, \.ndjson, \.csv, \.tsv or \.parquet"),
    ):
        with pytest.raises(InputError, match=words):
            GraphFiles([tmp_path / "good.jsonl", tmp_path / named])
    with pytest.raises(InputError, match="the name of a file is empty"):
        GraphFiles([""])
    with pytest.raises(InputError, match="no input is named"):
        GraphFiles([])
    with pytest.raises(TypeError, match="put the one into a list"):
        GraphFiles("orders.jsonl")
    with pytest.raises(InputError, match="standard input can be read only once"):
        await GraphFiles(["-"]).fingerprint()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=4),
    packs=st.lists(st.sampled_from(sorted(PACKS)), min_size=4, max_size=4),
    blanks=st.booleans(),
)
async def test_hash_is_of_the_orders(tmp_path: Path, parts: list[list[int]], packs: list[str], *, blanks: bool) -> None:
    """How orders are split into files and packed does not count; the orders, their order and the options do."""
    whole = tmp_path / "whole.jsonl"
    numbers = list(itertools.chain.from_iterable(parts))
    whole.write_bytes(lines(*numbers))
    paths = [tmp_path / f"{n}{pack}" for n, (_, pack) in enumerate(zip(parts, packs, strict=False))]
    for path, part, pack in zip(paths, parts, packs, strict=False):
        text = lines(*part).replace(b"\n", b" \r\n\n") if blanks else lines(*part)
        path.write_bytes(PACKS[pack](text))
    wanted = await GraphFiles([whole]).fingerprint()
    files = GraphFiles(paths)
    for _ in range(2):
        assert [key for _, _, key in await keys(files)] == [f"A-{n}" for n in numbers]
        assert files.digest == wanted == await files.fingerprint()
    for other in (GraphFiles([whole], V2), GraphFiles([whole], assign_references=True)):
        assert await other.fingerprint() != wanted
    whole.write_bytes(lines(*reversed(numbers), 10))
    assert await GraphFiles([whole]).fingerprint() != wanted


async def test_some_lines_only(tmp_path: Path) -> None:
    """The others are not parsed, and files that are not named are left out."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines(1) + b"no JSON\n" + lines(3, 4))
    files = GraphFiles([tmp_path], only={str(tmp_path / "b.jsonl"): {1, 4}})
    assert await keys(files) == [("b.jsonl", 1, "A-1"), ("b.jsonl", 4, "A-4")]


async def test_a_bad_line_is_kept_as_it_stands(tmp_path: Path) -> None:
    """To the byte, and no text shows it."""
    (tmp_path / "a.jsonl").write_bytes(lines(1) + BAD + b"\nno JSON\n")
    raws = [line.raw async for line in GraphFiles([tmp_path / "a.jsonl"])]
    assert [raw and raw.open() for raw in raws] == [None, BAD, b"no JSON"]
    assert "price" not in repr(raws)
