"""Faults as values: the action, the phase of the request, and its place, by a script or by seeded chance.

The file is ``{"seed": 7, "faults": [ENTRY, ...]}``. An entry names an ``operation`` (``items.create``, ``*.create``,
``*``) and either a ``script``, a list with one entry for each request (``"ok"`` or a fault), or a fault with its
``chance``. Entries are tried in order; a request has at most one fault. A script decides until its end.

The operation ``batches.process`` is the work on an uploaded batch file. Only its own entries concern it, and it has
faults of its own: ``corrupt``, ``fail`` and ``reject``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

import attrs
import orjson

from cdp_orders_async.emulator.naming import BATCH_PROCESSING, EXAMPLES, named
from cdp_orders_async.emulator.records import Json

__all__ = ["Fault", "Faults", "PlanError"]

LARGEST_PLAN = 2**24  # bytes
SECONDS_MAX = 1_000_000
BEFORE_REPLY = ("before", "accepted", "written")
PHASES = (*BEFORE_REPLY, "head", "body")
PROCESSING = ("processing",)
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "close": PHASES,
    "reset": PHASES,
    "stall": PHASES,
    "status": BEFORE_REPLY,
    "html": BEFORE_REPLY,
    "drip": ("body",),
    "corrupt": PROCESSING,
    "fail": PROCESSING,
    "reject": PROCESSING,
}
"""The actions, and the phases that each can have."""
STATUSES = {"html": 502, "reject": 500}
"""The statuses of actions by default, if not 503."""


class PlanError(ValueError):
    """A plan of faults is wrong; the text, one sentence, says what and where."""


@attrs.frozen(kw_only=True)
class Fault:
    """One fault of one request."""

    action: str
    """``close`` (FIN), ``reset`` (RST), ``stall`` (no answer), ``status`` (another answer), ``html`` (a proxy's page),
    ``drip`` (the true answer, slowly). Of ``batches.process``: ``corrupt`` (the file arrived damaged), ``fail``
    (nothing of it is taken, and there is no log), ``reject`` (each third record is refused with *status*)."""
    phase: str = "accepted"
    """``before`` anything is done, ``accepted`` (read, nothing written), ``written`` (state changed, no answer yet),
    inside the ``head`` or the ``body`` of the answer; ``processing`` of a batch file."""
    status: int = 503
    retry_after: int | None = None
    """Seconds in ``Retry-After``; None: no such header."""
    seconds: float = 60
    """The length of a stall, or of a whole drip."""

    @property
    def json(self) -> dict[str, Json]:
        """The fault as in a plan: its action, and the values that differ from those that the action has by default."""
        usual = attrs.asdict(read_fault({"action": self.action}, ""))
        return {name: value for name, value in attrs.asdict(self).items() if name == "action" or value != usual[name]}


@attrs.frozen
class Entry:
    """A line of the plan."""

    operation: str
    script: tuple[Fault | None, ...] | None = None
    fault: Fault | None = None
    chance: float = 1

    @property
    def json(self) -> dict[str, Json]:
        """The entry as in a plan."""
        if self.fault is None:
            script: list[Json] = ["ok" if fault is None else fault.json for fault in self.script or ()]
            return {"operation": self.operation, "script": script}
        return {"operation": self.operation, **({} if self.chance == 1 else {"chance": self.chance}), **self.fault.json}


class Faults:
    """A plan of faults, and the counts of the faults so far; without entries there are no faults."""

    def __init__(self, entries: tuple[Entry, ...] = (), *, seed: int = 0) -> None:
        self._entries = entries
        self._seed = seed
        self.reset()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of the plan, in the order in which they are tried."""
        return self._entries

    @property
    def plan(self) -> dict[str, Json]:
        """The plan as JSON, which `of` reads."""
        return {"seed": self._seed, "faults": [entry.json for entry in self._entries]}

    @property
    def left(self) -> list[int | None]:
        """The number of requests for which each entry still decides; None: for all, by chance."""
        return [
            None if entry.script is None else len(entry.script) - self._taken[number]
            for number, entry in enumerate(self._entries)
        ]

    def add(self, entry: Json) -> None:
        """Add an entry to the end of the plan, which goes on; raise PlanError if it is wrong."""
        self._entries += (read_entry(entry, "the fault"),)

    @classmethod
    def load(cls, path: Path | str) -> Faults:
        """Read a plan from a file; raise PlanError if it is wrong."""
        path = Path(path)
        # Reading a pipe would block, and some devices never end.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise PlanError(f"{path} is not a regular file.")
        try:
            with path.open("rb") as file:
                raw = file.read(LARGEST_PLAN + 1)
            if len(raw) > LARGEST_PLAN:
                raise PlanError(f"{path} has more than {LARGEST_PLAN:,} bytes.")
            plan: Json = orjson.loads(raw)
        except orjson.JSONDecodeError as wrong:
            raise PlanError(f"{path} is not JSON: {wrong}.") from None
        return cls.of(plan)

    @classmethod
    def of(cls, plan: Json) -> Faults:
        """Read a plan from JSON; raise PlanError if it is wrong."""
        if not isinstance(plan, dict) or not plan.keys() <= {"seed", "faults"}:
            raise PlanError("A plan of faults is an object with the keys seed and faults.")
        seed, entries = plan.get("seed", 0), plan.get("faults", [])
        if not isinstance(seed, int) or not isinstance(entries, list):
            raise PlanError("In a plan of faults, seed is an integer and faults is an array.")
        return cls(tuple(read_entry(entry, f"faults[{n}]") for n, entry in enumerate(entries)), seed=seed)

    def reset(self) -> None:
        """Begin the plan again."""
        self.done: Counter[tuple[str, str, str]] = Counter()
        """The number of faults so far, by operation, phase and action."""
        self._requests: Counter[str] = Counter()
        self._taken: Counter[int] = Counter()

    def draw(self, operation: str) -> Fault | None:
        """Return the fault of the next request to *operation*, or of the next batch file; None if it has none.

        Chance depends on the seed and the number of the request within its operation, so that requests to other
        operations do not change it.
        """
        self._requests[operation] += 1
        fault = self._planned(operation, self._requests[operation])
        if fault is not None:
            self.done[operation, fault.phase, fault.action] += 1
        return fault

    def _planned(self, operation: str, nth: int) -> Fault | None:
        for number, entry in enumerate(self._entries):
            if not fnmatchcase(operation, entry.operation) or (
                operation == BATCH_PROCESSING and entry.operation != operation
            ):
                continue
            if entry.script is not None:
                if self._taken[number] < len(entry.script):
                    self._taken[number] += 1
                    return entry.script[self._taken[number] - 1]
            elif drawn(f"{self._seed}/{number}/{operation}/{nth}") < entry.chance:
                return entry.fault
        return None


def drawn(name: str) -> float:
    """Return a number from 0 up to 1 that depends only on *name*."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) / 2**48


def read_entry(entry: Json, where: str) -> Entry:
    """Read one entry of a plan."""
    if not isinstance(entry, dict):
        raise PlanError(f"{where} must be an object.")
    operation = entry.get("operation")
    if not isinstance(operation, str) or not (named(operation) or operation == BATCH_PROCESSING):
        raise PlanError(f"{where}: operation must name operations {EXAMPLES}, not {operation!r}.")
    if "script" in entry:
        script = entry["script"]
        if not isinstance(script, list) or entry.keys() != {"operation", "script"}:
            raise PlanError(f"{where}: script must be an array, and stand alone beside operation.")
        steps = enumerate(script)
        faults = [None if s == "ok" else read_fault(s, f"{where}.script[{n}]") for n, s in steps]
        for fault in faults:
            check_place(operation, fault, where)
        return Entry(operation, tuple(faults))
    chance = entry.get("chance", 1)
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise PlanError(f"{where}: chance must be a number from 0 to 1, not {chance!r}.")
    rest: Json = {name: value for name, value in entry.items() if name not in {"operation", "chance"}}
    fault = read_fault(rest, where)
    check_place(operation, fault, where)
    return Entry(operation, fault=fault, chance=chance)


def check_place(operation: str, fault: Fault | None, where: str) -> None:
    """Raise PlanError for a fault of a batch file at a request, or the other way round."""
    if fault is not None and (fault.phase in PROCESSING) != (operation == BATCH_PROCESSING):
        raise PlanError(f"{where}: {fault.action} is no fault of {operation}.")


def read_fault(fault: Json, where: str) -> Fault:
    """Read one fault."""
    if not isinstance(fault, dict):
        raise PlanError(f'{where} must be "ok" or an object.')
    known = {field.name for field in attrs.fields(Fault)}
    for name in fault:
        if name not in known:
            raise PlanError(f"{where}: {name} is not a key of a fault.")
    action = fault.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise PlanError(f"{where}: action must be one of {', '.join(ACTIONS)}, not {action!r}.")
    phase = fault.get("phase", ACTIONS[action][0] if len(ACTIONS[action]) == 1 else "accepted")
    if not isinstance(phase, str) or phase not in ACTIONS[action]:
        raise PlanError(f"{where}: phase of {action} must be one of {', '.join(ACTIONS[action])}, not {phase!r}.")
    status = whole(fault, "status", STATUSES.get(action, 503), where, range(200, 600))
    retry_after = whole(fault, "retry_after", -1, where, range(2**31))
    seconds = fault.get("seconds", 1 if action == "drip" else 60)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= SECONDS_MAX:
        raise PlanError(f"{where}: seconds must be a number from 0 to {SECONDS_MAX:,}, not {seconds!r}.")
    after = retry_after if retry_after >= 0 else None
    return Fault(action=action, phase=phase, status=status, retry_after=after, seconds=seconds)


def whole(fault: dict[str, Json], name: str, default: int, where: str, allowed: range) -> int:
    """Read a whole number of a fault."""
    value = fault.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise PlanError(f"{where}: {name} must be a whole number from {allowed[0]} to {allowed[-1]}, not {value!r}.")
    return value
