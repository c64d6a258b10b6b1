"""The orders of several files, one file after the other."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TypedDict, Unpack

from cdp_orders_async.errors import InputError
from cdp_orders_async.graph import InputLine, Timezone, need, zone_of
from cdp_orders_async.kinds import V2_1, Api
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.jsonlines import GraphFile, start_hash
from cdp_orders_async.sources.scans import TABLE_SUFFIXES, table_format
from cdp_orders_async.sources.table_file import TableFile

__all__ = ["GraphFiles", "Options", "each_of", "expanded", "is_named", "opened", "real"]

SUFFIXES = (".jsonl", ".ndjson")
PACKED = ("", ".gz", ".zst")
NAMES = (*(suffix + packed for suffix in SUFFIXES for packed in PACKED), *TABLE_SUFFIXES)
"""The ends of the names of files that are read in a folder."""
STANDARD_INPUT = "-"


class Options(TypedDict, total=False):
    """The options of the reader of one file."""

    timezone: Timezone
    assign_references: bool
    only: Container[int] | None


def real(path: Path) -> Path:
    """Return *path* without symbolic links; links that lead to each other stay, and opening them fails."""
    return Path(os.path.realpath(path))


@sealed
class GraphFiles:
    """The orders of several files, one file after the other, as `GraphFile` reads each.

    Parameters: *files*, names of files, globs such as ``2024-*.jsonl`` (``**`` stands for any folders), and folders, of
    which all files are read whose name ends in .jsonl or .ndjson, also with .gz or .zst, unless it, or that of a folder
    in it, begins with a dot; ``-`` is standard input. They are read in this order; those of a glob or a folder by name,
    and a file that is named twice once. *api*, *timezone* and *assign_references*, as in `GraphFile`; *only*, the
    numbers of the lines that are read, by the name of the file:
    a file that is not named there is left out. Raises `InputError` for a file that does not exist, and for a glob or
    a folder with nothing to read; `Invalid` and TypeError as `GraphFile` does.

        async for line in GraphFiles(["2023.jsonl.gz", "2024/"]):
            print(line.file, line.number, line.key)
    """

    def __init__(
        self,
        files: Iterable[str | os.PathLike[str]],
        api: Api = V2_1,
        *,
        timezone: Timezone = None,
        assign_references: bool = False,
        only: Mapping[str, Container[int]] | None = None,
    ) -> None:
        need(only, (Mapping, NoneType), "only")
        self.names: tuple[str, ...] = tuple(_distinct(name for file in each_of(files) for name in expanded(file)))
        """The names of the files, in the order in which they are read."""
        if not self.names:
            raise InputError("no input is named: name a file")
        self._only = only
        self._given = (api, timezone, assign_references)
        self._options = f"{api.version} {zone_of(timezone)} {assign_references}"
        self._files = [
            self._opened(
                name,
                api,
                {
                    "timezone": timezone,
                    "assign_references": assign_references,
                    "only": None if only is None else only.get(name, ()),
                },
            )
            for name in self.names
        ]
        self._sizes = [_size(name) for name in self.names]
        self._packings = [_packing(name) for name in self.names]  # a packed line takes far fewer bytes than another
        self._restart()

    @property
    def name(self) -> str:
        """The input in messages: the name of the one file, or how many files there are."""
        return self._files[0].name if len(self._files) == 1 else f"{len(self._files):,} files"

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of all files that are read."""
        return self.names

    @property
    def options(self) -> dict[str, object]:
        """How the lines are read, as JSON data: ``api``, ``timezone`` and ``assign_references``."""
        return self._files[0].options

    @property
    def fraction(self) -> float | None:
        """The share of all files that was read, from 0 to 1; None while their size is not known."""
        total = sum(self._sizes)
        if len(self._files) == 1:
            return self._files[0].fraction
        if not all(self._sizes):
            return None
        return sum((file.fraction or 0.0) * size for file, size in zip(self._files, self._sizes, strict=True)) / total

    @property
    def expected_lines(self) -> float | None:
        """The number of lines that are not empty, estimated from those that were read; None where nothing tells."""
        read = list(zip(self._files, self._sizes, self._packings, strict=True))
        total = 0.0
        for packing in set(self._packings):
            size = sum(size for _, size, its in read if its == packing)
            known = [(lines, size) for file, size, its in read if its == packing and (lines := file.expected_lines)]
            seen = sum(size for _, size in known)
            if size and not seen:
                return None
            total += sum(lines for lines, _ in known) * size / seen if seen else 0.0
        return total or None

    @property
    def digest(self) -> str:
        """The hash of the lines that were read, and of the options: the same orders in the same order have it too.

        Empty lines, the names of the files and their packing do not count.
        """
        return self._hash.hexdigest()

    def with_only(self, only: Mapping[str, Container[int]]) -> GraphFiles:
        """Return the same files, of which *only* the lines with these numbers are read, by the name of the file."""
        api, timezone, assign_references = self._given
        return GraphFiles(self.names, api, timezone=timezone, assign_references=assign_references, only=only)

    async def fingerprint(self) -> str:
        """Read all lines without a look at them, and return the *digest* that they will have.

        Raises `InputError` for standard input, which can be read only once, and for a file that cannot be read.
        """
        if STANDARD_INPUT in self.names:
            raise InputError("standard input can be read only once: put the orders into a file")
        self._restart()
        for file in self._files:
            await file.read_through()
        return self.digest

    async def __aiter__(self) -> AsyncGenerator[InputLine, None]:
        self._restart()
        for file in self._files:
            if self._only is None or file.name in self._only:
                async with contextlib.aclosing(aiter(file)) as lines:
                    async for line in lines:
                        yield line

    def _restart(self) -> None:
        """Forget what was read."""
        self._hash = start_hash(self._options)
        for file in self._files:
            file.lines_hash = self._hash

    def _opened(self, name: str, api: Api, options: Options) -> GraphFile | TableFile:
        """Return the reader of one file."""
        return opened(name, api, **options)


def opened(name: str, api: Api, **options: Unpack[Options]) -> GraphFile | TableFile:
    """Return the reader of one file, JSON lines or a table."""
    return (GraphFile if table_format(name) is None else TableFile)(name, api, **options)


def each_of(files: Iterable[str | os.PathLike[str]]) -> Iterable[str | os.PathLike[str]]:
    """Return *files*; raise TypeError if they are one name."""
    need(files, Iterable, "files")
    if isinstance(files, (str, bytes)):
        raise TypeError("files must be several names: put the one into a list")
    return files


def expanded(file: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the names of the files that *file* stands for."""
    need(file, (str, os.PathLike), "each of files")
    name = os.fspath(file)
    if not name:
        raise InputError("the name of a file is empty")
    path = Path(name)
    if name == STANDARD_INPUT:
        yield name
    elif path.is_dir():
        found = sorted(
            str(inner)
            for inner in path.rglob("*")
            if inner.name.lower().endswith(NAMES) and not _is_hidden(inner.relative_to(path)) and inner.is_file()
        )
        if not found:
            raise InputError(
                f"the folder {name} holds no file whose name ends in {', '.join(SUFFIXES)}, .csv, .tsv or .parquet"
            )
        yield from found
    elif not path.exists() and glob.has_magic(name):
        found = sorted(inner for inner in glob.iglob(name, recursive=True) if not Path(inner).is_dir())  # noqa: PTH207 Path.glob takes no absolute name
        if not found:
            raise InputError(f"no file has a name like {name}")
        yield from found
    else:
        try:
            path.stat()
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
        yield name


def is_named(path: Path, given: str | os.PathLike[str]) -> bool:
    """Tell whether *given*, a folder or a glob, stands for *path* too once a file is there."""
    name = os.fspath(given)
    whole = Path(name)
    if whole.is_dir():
        folder, file = real(whole), real(path)
        inside = file.is_relative_to(folder) and not _is_hidden(file.relative_to(folder))
        return inside and file.name.lower().endswith(NAMES)
    return not whole.exists() and glob.has_magic(name) and _matches(path.absolute().parts, whole.absolute().parts)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether the *parts* of a path match those of a glob."""
    if not pattern or not parts:
        return not pattern and not parts
    if parts[0].startswith(".") and not pattern[0].startswith("."):
        return pattern[0] == "**" and _matches(parts, pattern[1:])
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _is_hidden(name: Path) -> bool:
    """Tell whether *name*, or a folder in it, begins with a dot: a glob leaves such a file out too."""
    return any(part.startswith(".") for part in name.parts)


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield the *names* of different files."""
    seen: set[str] = set()
    for name in names:
        whole = name if name == STANDARD_INPUT else str(real(Path(name)))
        if whole not in seen:
            seen.add(whole)
            yield name


def _size(name: str) -> int:
    """Return the bytes of a file; 0 where they are not known, as of a pipe."""
    path = Path(name)
    return path.stat().st_size if name != STANDARD_INPUT and path.is_file() else 0


def _packing(name: str) -> str:
    """Return how a file is packed, as far as its *name* tells."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in {*PACKED, ".parquet"} else ""
