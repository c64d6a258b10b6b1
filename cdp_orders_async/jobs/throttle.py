"""A load that is made slower or faster while it runs: by its user, with two signals or a control file."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import stat
import sys
import tomllib
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from cdp_orders_async.errors import Invalid
from cdp_orders_async.jobs.events import Message, OnEvent
from cdp_orders_async.jobs.loading import Loading
from cdp_orders_async.session import Session
from cdp_orders_async.threads import in_thread

__all__ = ["SIGNALS", "Throttle", "Wish", "following", "parse_wish"]

Rate: TypeAlias = float | Literal["auto"] | None

SIGNALS = {"SIGUSR1": 0.75, "SIGUSR2": 1.25}
"""The signals that change the rate, each with its factor; Windows has neither."""
LEAST = 0.1  # requests a second, below which no signal goes
EVERY = 1.0  # seconds between two looks at the control file
LARGEST = 65_536  # bytes of a control file
RATE_RULE = 'rate must be a number above 0, "auto" or "none"'
PAUSE_RULE = "pause must be true or false"


@attrs.frozen
class Wish:
    """The contents of a control file; a name that it does not have changes nothing."""

    rate: Rate | Literal["as it is"] = "as it is"
    pause: bool | None = None


def parse_wish(text: bytes) -> Wish:
    """Read the contents of a control file; raises `ValueError` with a sentence for contents that are wrong."""
    if len(text) > LARGEST:
        raise ValueError(f"it must be at most {LARGEST:,} bytes long")
    try:
        found = tomllib.loads(text.decode())
    except UnicodeDecodeError:
        raise ValueError("it must be UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it must be TOML: {error}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or brackets in brackets
        raise ValueError("it must be TOML with short values") from None
    if unknown := found.keys() - {"rate", "pause"}:
        raise ValueError(f"it may have rate and pause, not {', '.join(sorted(map(repr, unknown)))}")
    return Wish(_rate(found), _pause(found))


def _rate(found: Mapping[str, object]) -> Rate | Literal["as it is"]:
    match found.get("rate", "as it is"):
        case "as it is" if "rate" not in found:
            return "as it is"
        case "auto":
            return "auto"
        case "none":
            return None
        case bool():
            raise ValueError(RATE_RULE)
        case int() | float() as rate if 0 < rate <= sys.float_info.max:
            return float(rate)
        case _:
            raise ValueError(RATE_RULE)


def _pause(found: Mapping[str, object]) -> bool | None:
    pause = found.get("pause")
    if pause is not None and not isinstance(pause, bool):
        raise ValueError(PAUSE_RULE)
    return pause


class Throttle:
    """Changes the rate of a load over *session* while it runs, and holds it; *speed* gives its requests a second."""

    def __init__(self, session: Session, speed: Callable[[], float], on_event: OnEvent) -> None:
        self._session = session
        self._speed = speed
        self._on_event = on_event

    def on_signal(self, number: int) -> None:
        """Lower or raise the rate by a quarter."""
        name = signal.Signals(number).name
        self._scale(SIGNALS[name], name)

    def _scale(self, factor: float, by: str) -> None:
        cap = self._session.settings.rate
        if isinstance(cap, str) or cap is None:
            if factor > 1:
                no_cap = "as many as the server bears" if cap == "auto" else "no limit"
                self._on_event(Message(f"{by}: the rate stays as it is, {no_cap}."))
                return
            cap = self._session.limiter.rate or self._speed()
        self.set_rate(max(LEAST, cap * factor), by)

    def set_rate(self, rate: Rate, by: str) -> None:
        """Change the rate, and say so; *by* names who asked for it."""
        if rate == self._session.settings.rate:
            return
        try:
            self._session.set_rate(rate)
        except Invalid as error:  # a rate that processes share
            self._on_event(Message(f"{by}: {error}. Nothing was changed."))
            return
        if rate is None:
            what = "no limit"
        elif isinstance(rate, str):
            what = "as many requests a second as the server bears"
        else:
            what = f"at most {rate:.4g} requests a second"
        self._on_event(Message(f"{by}: the rate is now {what}."))

    def hold(self, load: Loading, by: str, *, pause: bool) -> None:
        """Hold the *load*, or let it go on, and say so; *by* names who asked for it."""
        if pause is load.held:
            return
        if pause:
            load.hold()
            self._on_event(Message(f"{by}: the load pauses; pause = false lets it go on."))
        else:
            load.release()
            self._on_event(Message(f"{by}: the load goes on."))


@contextlib.asynccontextmanager
async def following(
    path: Path | None, throttle: Throttle, load: Loading, on_event: OnEvent
) -> AsyncGenerator[None, None]:
    """Do what the control file *path* says while the block lasts: at once, and after each change of the file.

    A change counts once the file stays the same for two looks, a second apart, so that half of it is never obeyed. A
    file that is missing changes nothing. Wrong contents are told once, and change nothing.
    """
    if path is None:
        yield
        return
    follower = _Follower(path, throttle, load, on_event)
    follower.obey(await in_thread(follower.read))
    task = asyncio.create_task(follower.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


class _Follower:
    def __init__(self, path: Path, throttle: Throttle, load: Loading, on_event: OnEvent) -> None:
        self._path = path
        self._throttle = throttle
        self._load = load
        self._on_event = on_event
        self._obeyed: bytes | str | None = None

    async def follow(self) -> None:
        last = self._obeyed
        while True:
            await asyncio.sleep(EVERY)
            found = await in_thread(self.read)
            try:
                if found == last:
                    self.obey(found)
            except Exception as error:  # noqa: BLE001 the load raises it: the observer did not take a message
                self._load.fail(error)
                return
            last = found

    def read(self) -> bytes | str | None:
        """Return the contents of the file, None where there is none, and a sentence where it cannot be read."""
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):  # a pipe would wait for its writer
                return "it is not a regular file"
            with self._path.open("rb") as file:
                return file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"it cannot be read: {error.strerror}"

    def obey(self, found: bytes | str | None) -> None:
        """Do what is *found* in the file, unless it was done already."""
        if found is None or found == self._obeyed:
            return
        self._obeyed = found
        by = str(self._path)
        try:
            if isinstance(found, str):
                raise ValueError(found)  # noqa: TRY004, TRY301 the type says where the sentence comes from
            wish = parse_wish(found)
        except ValueError as error:
            self._on_event(Message(f"{by}: {error}. Nothing was changed."))
            return
        if wish.rate != "as it is":
            self._throttle.set_rate(wish.rate, by)
        if wish.pause is not None:
            self._throttle.hold(self._load, by, pause=wish.pause)
