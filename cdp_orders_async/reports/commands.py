"""The commands that go on from a load, with its own files."""

from __future__ import annotations

import shlex
from pathlib import Path

from msgspec import Struct

from cdp_orders_async.ingest import Verdict
from cdp_orders_async.jobs import RETRIED, RunData

__all__ = ["Command", "commands_of", "folder_of"]

MOST_FILES = 20
"""The files that a command names; of more it says FILE."""
JOURNAL, FILE = "JOURNAL", "FILE"
"""Stand for a name that the report does not know."""


class Command(Struct, frozen=True):
    """A command, and what it does."""

    words: list[str]
    """Its words as a shell reads them."""
    what: str


def folder_of(run: RunData) -> str | None:
    """Return the folder in which the commands must run; None if it does not matter."""
    if run.record is None or run.record.folder is None:
        return None
    names = [file.name for file in run.record.files]
    return None if all(Path(name).is_absolute() or name == "-" for name in names) else run.record.folder


def commands_of(run: RunData) -> list[Command]:
    """Return the commands for a *run*: go on, retry, verify and undo, as far as there is anything to do."""
    record, verdicts = run.record, run.tally.verdicts
    options = None if record is None else record.options
    journal = JOURNAL if options is None or options.journal is None else options.journal
    server: list[str] = []
    if options is not None and options.base_url is not None:
        server += ["--base-url", options.base_url]
    if options is not None and options.api == "v2":
        server += ["--api", "v2"]
    outcomes = str(run.outcomes.absolute())
    source = [] if run.from_file else [FILE]
    found: list[Command] = []
    early = record is not None and (record.ended is None or record.error is not None or record.stopped_by is not None)
    if record is not None and (early or verdicts[Verdict.NOT_TRIED] or verdicts[Verdict.BUSY]):
        files = [file.name for file in record.files]
        if not files or len(files) > MOST_FILES:
            files = [FILE]
        words = ["load", *files, "--journal", journal, "--outcomes", outcomes, *_load_options(run), *server]
        found.append(_command(words, "Goes on with the load: what is loaded is skipped."))
    if any(verdicts[Verdict(name)] for name in RETRIED):
        words = ["retry", outcomes, *source, "--journal", journal, "--outcomes", f"{outcomes}.retried.jsonl", *server]
        what = "Loads again only the orders that are failed, unknown, conflict, partial or kept."
        found.append(_command(words, what))
        if verdicts[Verdict.KEPT]:
            words = [*words, "--only", "kept", "--on-existing", "update"]
            found.append(_command(words, "Changes the kept orders to what the input says."))
    if any(run.tally.parts.values()):
        words = ["verify", outcomes, *source, "--differences", f"{outcomes}.differences.jsonl", *server]
        found.append(_command(words, "Reads the orders back and compares them with the input. It changes nothing."))
    if run.tally.parts["created"] and (options is None or options.api != "v2"):
        words = ["undo", "--journal", journal, *server]
        what = "Deletes what all loads with this journal created, after it has asked."
        found.append(_command(words, what))
    return found


def _load_options(run: RunData) -> list[str]:
    """Return the options without which the input would be read or loaded in another way."""
    words: list[str] = []
    if run.record is None:
        return words
    options = run.record.options
    if options.timezone is not None:
        words += ["--timezone", options.timezone]
    if options.assign_references:
        words.append("--assign-references")
    if options.look_first:
        words.append("--look-first")
    if options.on_existing not in {None, "keep"}:
        words += ["--on-existing", str(options.on_existing)]
    return words


def _command(words: list[str], what: str) -> Command:
    return Command([shlex.quote(word) for word in ("cdp-orders", *words)], what)
