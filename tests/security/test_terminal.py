"""What others wrote cannot rule a terminal or fill a disk: neither what a server says, nor an input or its name."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from cdp_orders_async import CdpError, OutcomeUnknown, Refused, ServerError
from tests.cli.support import cdp_orders, lines_of, orders, write
from tests.servers import Reply, serving
from tests.session.calling import ask, calling, failure

EVIL = "\x1b]0;evil\x07\x1b[2J\r\x7f\x9b31m\u202eevil\u2066\u2028\u2029\x85"
"""Sets the title, clears the screen, colours, turns the direction, and more."""


@pytest.mark.parametrize("verbose", [(), ("--verbose",)], ids=["", "verbose"])
async def test_no_output_rules_the_terminal(verbose: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing that a load prints or writes has a character in it that a terminal obeys, whatever it was told."""
    said = orjson.dumps({"message": f"wrong {EVIL}", "developerMessage": EVIL})
    lines = [{**orders(1)[0], "referenceId": f"B-{EVIL}"}, {EVIL: 1}]
    source = write(tmp_path / f"o-{EVIL}.jsonl", lines)
    async with serving(Reply(400, said)) as server:
        env = {"CDP_BASE_URL": server.url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token"}
        files = ("--journal", "j.sqlite", "--outcomes", "out.jsonl")
        ran = await cdp_orders("load", source, *files, *verbose, cwd=tmp_path, env=env)
    assert (ran.status, "wrong" in ran.err, "2 │" in ran.out) == (1, True, True)
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    shown = f"{ran.out}{ran.err}{written}".split("\n")
    assert [line for line in shown if not line.isprintable()] == []
    first, second = sorted(lines_of(tmp_path / "out.jsonl"), key=lambda line: int(line["number"]))
    assert first["key"].startswith(f"B-{EVIL}@")
    assert first["parts"][0]["failure"]["message"].endswith("400 wrong ***")
    assert second["violations"][0]["field"] == "$.***"


async def test_no_answer_fills_the_disk(tmp_path: Path) -> None:
    """A server that talks without end gets a line of the outcomes, and of the screen, not a disk."""
    said = orjson.dumps({"message": "a" * 10_000_000, "developerMessage": "b" * 10_000_000})
    source = write(tmp_path / "o.jsonl", orders(3))
    async with serving(Reply(400, said)) as server:
        env = {"CDP_BASE_URL": server.url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": "token"}
        ran = await cdp_orders("load", source, "--outcomes", "out.jsonl", "--verbose", cwd=tmp_path, env=env)
    assert ran.status == 1
    assert len(ran.err) + (tmp_path / "out.jsonl").stat().st_size < 20_000


async def test_no_error_forges_a_line_of_a_log() -> None:
    """The text of an error is one line that nobody obeys; what the server said in full is beside it."""
    reply = Reply(400, orjson.dumps({"message": f"wrong\n{EVIL}"}))
    async with serving(reply) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, Refused)
    assert str(error).isprintable()
    assert error.message == "wrong ***"
    assert orjson.loads(error.start)["message"] == f"wrong\n{EVIL}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, OutcomeUnknown) for status in (101, 303, 600, 999)),
        *((status, Refused) for status in (300, 301, 302, 304, 307, 308, 418)),
    ],
)
async def test_odd_statuses_of_a_create(status: int, kind: type[CdpError]) -> None:
    """What no answer should be, and what points to a result, leaves open whether it was done; the rest is a refusal."""
    raw = f"HTTP/1.1 {status} Some\r\nUpgrade: other\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n".encode()
    async with serving(Reply(raw=raw)) as server, calling(server.url) as session:
        created = await failure(session, ask("POST"))
        read = await failure(session, ask())
    assert type(created) is kind
    assert isinstance(read, Refused)
    assert isinstance(read, ServerError) == (not 300 <= status < 500)
    assert server.ledger[0].method == "POST"
