"""Files of JSON lines: how they are read, and how they may end."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async import GraphFile, InputError, InputLine, Invalid
from cdp_orders_async.graph import read_part
from cdp_orders_async.kinds import ORDERS
from cdp_orders_async.sources.jsonlines import LONGEST_LINE, lines
from tests.graphs import GOOD, KEY, TEXT, read, told, written
from tests.packing import zstd

LINE = GOOD.decode()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
async def test_lines_are_numbered_as_they_stand(tmp_path: Path, bom: bytes, end: bytes, *, packed: bool) -> None:
    """Empty lines count, bad ones do not end the file, and the last may lack its line break.

    Where files were put one after the other, a mark of the order of bytes stands in the middle.
    """
    text = bom + end.join([GOOD, bom, b"{", b" \t", b"[]", b'{"price":NaN}', b"\xff", bom + GOOD])
    path = tmp_path / "orders.jsonl"
    path.write_bytes(gzip.compress(text) if packed else text)
    got = await read(GraphFile(path))
    assert {line.file for line in got} == {str(path)}
    assert [(line.number, line.graph is not None) for line in got] == [
        (1, True),
        (3, False),
        (5, False),
        (6, False),
        (7, False),
        (8, True),
    ]
    told = [str(line.violations[0]) for line in got if line.graph is None]
    assert [(words[:15], words.rpartition(" at ")[2]) for words in told if words != "$: must be an object"] == [
        ("$: must be JSON", "column 2"),
        ("$: must be JSON", "column 10"),
        ("$: must be UTF-", "byte 1"),
    ]
    assert len(told) == 4


@pytest.mark.parametrize(
    ("text", "byte"),
    [
        ('{"name":"José"}'.encode("latin-1"), 13),
        ('\ufeff{"name":"'.encode() + "José".encode("cp1252"), 16),
        ('{"name":"é'.encode() + b"\xe9", 12),
        (b'{"name":"\xed\xa0\x80"}', 10),
        (b"{" + GOOD[:-1] + b"\xff", len(GOOD) + 1),
    ],
)
async def test_another_encoding_is_told_with_its_place(tmp_path: Path, text: bytes, byte: int) -> None:
    """A line in another encoding says so, and at which byte it shows: the reader of JSON names column 1."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(GOOD + b"\n" + text)
    (bad,) = [line for line in await read(GraphFile(path)) if line.graph is None]
    assert [str(violation) for violation in bad.violations] == [f"$: must be UTF-8: it is not at byte {byte}"]
    with pytest.raises(Invalid, match=f"must be UTF-8: it is not at byte {byte}"):
        read_part(text, ORDERS)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (LINE.replace(":50", ":NaN"), KEY),
        (LINE.replace(":50", ":-Infinity"), KEY),
        (f"{LINE},", KEY),
        (LINE[:-1], KEY),
        (f"{LINE[:-1]},}}", KEY),
        ('{"referenceId":"A-1","price":', "A-1"),
        ('{ "referenceId" : "A-1" , "orderedAt": "2024-01-01T16', "A-1"),
        ('{"orderItems":[{"referenceId":"I-1"}],"referenceId":"A-1","price":NaN}', "A-1"),
        ('{"contact":{"city":"\\"},{"},"referenceId":"A\\u002d1","price":NaN}', "A-1"),
        ('{"orderItems":[{"referenceId":"I-1"}],"price":NaN}', None),
        ('{"orderItems":[{"referenceId":"I-1","price":', None),
        ('{"referenceId":"A-1","referenceId":"A-2","price":NaN}', None),
        ('{"referenceId":"A-', None),
        ('{"referenceId":"A-1" "price":50}', None),
        ('{"referenceId":"\\x","price":50}', None),
        ('{"referenceId":1,"price":NaN}', None),
        ('{"price":NaN},{"referenceId":"A-1","price":50}', None),
        ('["referenceId",{"referenceId":"A-1"}', None),
        ('{"note":"' + "x" * 70_000 + '","referenceId":"A-1","price":NaN}', None),
    ],
)
async def test_key_of_a_line_that_is_not_json(tmp_path: Path, text: str, key: str | None) -> None:
    """A line that is not JSON has the key of its order, where that can be read: not the one of an item."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(GOOD + b"\n" + text.encode())
    (bad,) = [line for line in await read(GraphFile(path)) if line.graph is None]
    assert str(bad.violations[0]).startswith("$: must be JSON: ")
    assert bad.key == key


class Chunks(io.BufferedIOBase):
    """A stream that gives just these chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next chunk."""
        assert size != 0
        return next(self._chunks, b"")


@given(st.lists(st.binary(max_size=9).map(lambda text: text.translate(b"\nxxx" * 64)), max_size=12), st.integers(1, 6))
def test_chunks_do_not_matter(chunks: list[bytes], longest: int) -> None:
    """However the bytes arrive, the lines are the same; one that is too long stays too long and counts once."""
    expected = b"".join(filter(None, chunks)).split(b"\n")
    if not expected[-1]:
        del expected[-1]
    got = [line for batch in lines(Chunks(filter(None, chunks)), longest) for line in batch]
    assert [line for line in got if len(line) <= longest] == [line for line in expected if len(line) <= longest]
    assert len(got) == len(expected)
    assert all(whole.startswith(line) for line, whole in zip(got, expected, strict=True))


async def test_too_long_line(tmp_path: Path) -> None:
    """A line above the limit is refused without being parsed, and those around it are read."""
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join([GOOD, b'{"a":"' + b"x" * (17 * 2**20) + b'"}', GOOD]), 1))
    good, bad, after = await read(GraphFile(path))
    assert (good.number, bad.number, after.number, after.graph) == (1, 2, 3, good.graph)
    assert [str(wrong) for wrong in bad.violations] == [f"$: must be at most {LONGEST_LINE:,} bytes long"]


async def test_fraction_tells_how_far(tmp_path: Path) -> None:
    """While a file is read, it is known how much of it was."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes((GOOD + b"\n") * 2000)
    file = GraphFile(path)
    seen = [file.fraction or 0.0 async for _ in file]
    assert seen == sorted(seen)
    assert [seen[0], 0 < seen[-1] < 1, file.fraction] == [0, True, 1]


async def test_empty_file(tmp_path: Path) -> None:
    """A file of no bytes has no lines, and that is no error."""
    path = tmp_path / "orders.jsonl"
    path.touch()
    assert await read(GraphFile(path)) == []


@pytest.mark.parametrize(
    ("name", "content", "good", "words"),
    [
        ("absent.jsonl", None, 0, "cannot be read: No such file or directory"),
        ("", None, 0, "cannot be read: Is a directory"),
        (
            "cut.gz",
            gzip.compress(GOOD + b"\n" + GOOD, mtime=0)[:-6],
            1,
            "cannot be read after line 1: it is cut off or damaged",
        ),
        ("no.gz", b"\x1f\x8b" + GOOD, 0, "cannot be read: it is cut off or damaged"),
        (
            "no.Z",
            b"\x1f\x9d" + GOOD,
            0,
            "cannot be read: it is packed by compress; give JSON lines, plain, gzip or zstd: one order on each line",
        ),
        ("cut.zst", zstd.compress(GOOD + b"\n")[:-3], 0, "cannot be read: it is cut off or damaged"),
        ("no.zst", zstd.compress(GOOD)[:4] + GOOD, 0, "cannot be read: it is cut off or damaged"),
        (
            "bad.gz",
            gzip.compress(GOOD + b"\n", mtime=0)[:-8] + b"\0" * 8,
            1,
            "cannot be read after line 1: it is cut off or damaged",
        ),
        ("wild.gz", gzip.compress(GOOD, mtime=0)[:10] + b"\xff" * 40, 0, "cannot be read: it is cut off or damaged"),
    ],
)
async def test_file_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, good: int, words: str
) -> None:
    """A file that cannot be read to its end gives its good lines, and then one sentence."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    stream = aiter(GraphFile(path))
    assert [(await anext(stream)).number for _ in range(good)] == list(range(1, good + 1))
    with pytest.raises(InputError) as caught:
        await anext(stream)
    assert str(caught.value) == f"{path} {words}"


CHILD = """
import asyncio, sys
from cdp_orders_async import GraphFile

async def show(most, enough):
    async for line in GraphFile("-"):
        print(line.file, line.number, line.graph is not None, flush=True)
        if line.number == most:
            enough.set()

async def main(most):
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(show(most, enough))
        if most:
            await enough.wait()
            task.cancel()

asyncio.run(main(int(sys.argv[1])))
"""


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(*, packed: bool) -> None:
    """``-`` is standard input, plain or gzip."""
    text = GOOD + b"\n\n{\n" + GOOD
    given = gzip.compress(text) if packed else text
    done = subprocess.run([sys.executable, "-c", CHILD, "0"], input=given, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [
        "standard input 1 True",
        "standard input 3 False",
        "standard input 4 True",
    ]


def test_standard_input_line_by_line() -> None:
    """Lines are given as they arrive, and waiting for more does not hold up the end of the process."""
    command = [sys.executable, "-c", CHILD, "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for number in (1, 2):
            child.stdin.write(GOOD + b"\n")
            child.stdin.flush()
            assert child.stdout.readline().decode().split() == ["standard", "input", str(number), "True"]
        assert child.wait(60) == 0


# A file that changes while it is read.

LINES = [GOOD.replace(b"B94TXY-1", b"%d" % n) for n in range(5000)]
SMALLER = "it became smaller while it was read"


async def begun(path: Path) -> AsyncIterator[InputLine]:
    """Return the lines of a file after the first one, which was read."""
    stream = aiter(GraphFile(path))
    await anext(stream)
    return stream


async def rest(stream: AsyncIterator[InputLine]) -> list[InputLine]:
    """Return what is left of a file."""
    return [line async for line in stream]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("left", [0, 1, 5000])
async def test_file_that_is_truncated(left: int, tmp_path: Path, *, packed: bool) -> None:
    """A file that becomes smaller has not been read to its end: that is an error, after the lines that were there."""
    noise = random.Random(1)  # noqa: S311 no secret, but what takes much room also when it is packed
    path = written(
        tmp_path / "orders", *(line[:-1] + b',"channel":"%b"}' % noise.randbytes(40).hex().encode() for line in LINES)
    )
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    stream = aiter(GraphFile(path))
    assert (await anext(stream)).number == 1
    os.truncate(path, left)
    with pytest.raises(InputError, match=rf"cannot be read after line \d+: {SMALLER}$"):
        await rest(stream)


async def test_file_that_is_written_anew(tmp_path: Path) -> None:
    """A shorter file in the place of the one that is read is an error; one that was moved there changes nothing."""
    path = written(tmp_path / "orders", *LINES)
    stream = await begun(path)
    written(path, *LINES[:2000])
    with pytest.raises(InputError, match=SMALLER):
        await rest(stream)
    written(path, *LINES)
    stream = await begun(path)
    written(tmp_path / "other", GOOD).rename(path)
    assert len(await rest(stream)) == len(LINES) - 1


@pytest.mark.parametrize("packed", [False, True])
async def test_file_that_is_written_over(tmp_path: Path, *, packed: bool) -> None:
    """If somebody writes other orders over those that are read, the reading ends with an error."""
    path = written(tmp_path / "orders", *LINES)
    data = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(data)
    stream = await begun(path)
    with path.open("r+b") as file:
        file.write(data[:4] + b"time" + data[8:] if packed else data.replace(b"EUR", b"USD"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))  # its clock may be coarse
    with pytest.raises(InputError, match=r"cannot be read after line \d+: it changed while it was read: read it"):
        await rest(stream)


async def test_file_that_grows(tmp_path: Path) -> None:
    """Lines that are appended while a file is read are read too, and no more than all of it is ever read."""
    path = written(tmp_path / "orders", *LINES)
    file = GraphFile(path)
    stream = aiter(file)
    await anext(stream)
    with path.open("ab") as more:
        more.write(GOOD + b"\n")
    seen = [(line.key, file.fraction) async for line in stream]
    assert (len(seen), seen[-1][0]) == (len(LINES), KEY)
    assert all(fraction is None or fraction <= 1 for _, fraction in seen)
    assert file.fraction == 1


async def test_file_that_grows_at_its_beginning(tmp_path: Path) -> None:
    """A longer file with other lines before those that were read is not the file that was read."""
    path = written(tmp_path / "orders", *LINES)
    stream = await begun(path)
    written(path, GOOD, *LINES)
    with pytest.raises(InputError, match=rf"cannot be read after line {len(LINES) + 1}: it changed while it was read"):
        await rest(stream)


async def test_file_that_is_touched(tmp_path: Path) -> None:
    """A file with the same lines and a new time has not changed."""
    path = written(tmp_path / "orders", *LINES)
    stream = await begun(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    assert len(await rest(stream)) == len(LINES) - 1


async def test_pipe_has_no_size(tmp_path: Path) -> None:
    """A named pipe is read until its writer goes; how much of it was read is not known."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(TEXT,), daemon=True)
    writer.start()
    file = GraphFile(path)
    assert [told(line) for line in await read(file)] == [[], []]
    assert file.fraction is None
    writer.join()
