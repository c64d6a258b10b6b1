"""A target of fuzzing, the bounds that each case must keep, and the search for inputs that break one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from types import FrameType

import attrs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.corpus import TOKENS, changed

ROUND = 500  # inputs that are drawn with one seed, before what changes them
SECONDS = 20
"""How long a case may take."""
MEBIBYTES = 256
"""How much a case may add to the most memory that the process ever had."""

Check = Callable[[bytes], None]
"""Try one input; whatever it raises is a finding."""


@attrs.frozen
class Target:
    """Something that must bear any input."""

    name: str
    inputs: SearchStrategy[bytes]
    opened: Callable[[], AbstractContextManager[Check]]
    """Gives what tries inputs, and takes it down afterwards."""
    tokens: tuple[bytes, ...] = TOKENS
    """What may be put into an input."""
    mutants: int = 9
    """How many changed forms of each input are tried too."""


@attrs.frozen
class Finding:
    """An input that breaks a target."""

    target: str
    why: str
    """The error in one line."""
    error: str
    """All of it, with where it was raised."""
    data: bytes

    def write(self, folder: Path) -> Path:
        """Write it to a file of its own, in the form that `read_input` reads."""
        folder = folder / self.target
        folder.mkdir(parents=True, exist_ok=True)
        number = next(n for n in range(1, 1_000_000) if not (folder / f"{n}.json").exists())
        found = {"why": self.why, "error": self.error, "input": self.data.decode("latin-1")}
        (folder / f"{number}.json").write_text(json.dumps(found, indent=1) + "\n")
        return folder / f"{number}.json"


def read_input(path: Path) -> bytes:
    """Read the input that a file keeps: JSON, where each character of the text *input* is one byte."""
    kept: str = json.loads(path.read_text(encoding="utf-8"))["input"]
    return kept.encode("latin-1")


def pure(check: Check) -> Callable[[], AbstractContextManager[Check]]:
    """Return the opening of a target that is one function."""
    return lambda: contextlib.nullcontext(check)


def looped(
    opened: Callable[[], AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]],
) -> Callable[[], AbstractContextManager[Check]]:
    """Return the opening of a target that lives on an event loop, which must not be left an error to tell."""

    @contextmanager
    def sync() -> Generator[Check, None, None]:
        told: list[str] = []

        async def begin() -> Callable[[bytes], Awaitable[None]]:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(repr(context)))
            return await stack.enter_async_context(opened())

        async def one(data: bytes) -> None:
            told.clear()
            async with asyncio.timeout(SECONDS / 2):
                await check(data)
            assert not told, told

        stack = contextlib.AsyncExitStack()
        with asyncio.Runner() as runner:
            check = runner.run(begin())
            try:
                yield lambda data: runner.run(one(data))
            finally:
                runner.run(stack.aclose())

    return sync


class _Hung(BaseException):
    """A case took too long; nothing that catches every `Exception` catches it."""


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _Hung


@contextmanager
def bounded() -> Generator[None, None, None]:
    """Bound the time and the memory of what is done inside."""
    before = getrusage(RUSAGE_SELF).ru_maxrss
    previous = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    except _Hung as error:
        raise AssertionError(f"it took more than {SECONDS} s") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    grown = (getrusage(RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEBIBYTES, f"it took {grown:.0f} MiB"


def hunt(target: Target, *, cases: int | None = None, seconds: float = 0, start: int = 0) -> tuple[int, list[Finding]]:
    """Try so many *cases*, or for so many *seconds*; return how many were tried, and a short input for each error.

    The same *start* tries the same cases.
    """
    tried = 0
    found: dict[str, Finding] = {}
    until = time.monotonic() + seconds
    with target.opened() as check:

        def over() -> bool:
            return tried >= cases if cases is not None else time.monotonic() >= until

        def case(data: bytes, number: int) -> None:
            nonlocal tried
            for one in (data, *(changed(data, number + n, target.tokens) for n in range(target.mutants))):
                if over():
                    return
                tried += 1
                wrong = error_of(check, one)
                if wrong is not None and wrong[0] not in found:
                    found[wrong[0]] = shortened(Finding(target.name, *wrong[1:], one), wrong[0], check)

        number = start
        while not over():
            search = given(target.inputs, st.integers(0, 2**32))(case)
            rounds = settings(
                max_examples=ROUND,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.data_too_large,
                    HealthCheck.large_base_example,
                ],
            )
            rounds(seed(number)(search))()
            number += 1
    return tried, list(found.values())


def error_of(check: Check, data: bytes) -> tuple[str, str, str] | None:
    """Return what tells an error of *check* from others, its line and its text; None where there is none."""
    try:
        with bounded():
            check(data)
    except Exception as error:  # noqa: BLE001 whatever it is, it was found
        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in reversed(frames) if "cdp_orders_async/" in frame.filename), frames[-1])
        name, first = type(error).__name__, str(error).partition("\n")[0]
        text = "".join(traceback.format_exception(error))
        return f"{name} {where.filename}:{where.lineno} {frames[-1].lineno}", f"{name}: {first}", text
    return None


def shortened(finding: Finding, key: str, check: Check) -> Finding:
    """Take away from the input what the same error does without."""
    until = time.monotonic() + SECONDS
    size = len(finding.data)
    while (size := size // 2) and time.monotonic() < until:
        at = 0
        while at < len(finding.data) and time.monotonic() < until:
            less = finding.data[:at] + finding.data[at + size :]
            wrong = error_of(check, less)
            if wrong is not None and wrong[0] == key:
                finding = Finding(finding.target, *wrong[1:], less)
            else:
                at += size
    return finding
