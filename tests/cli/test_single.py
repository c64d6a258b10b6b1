"""The commands for single resources: each operation of the API from the shell."""

from __future__ import annotations

import base64
import io
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from rich.console import Console

from cdp_orders_async import cli
from cdp_orders_async.cli import main
from cdp_orders_async.cli.single_help import owner_of, text_of
from cdp_orders_async.emulator import Faults, Switches
from cdp_orders_async.graph import parse_graph
from cdp_orders_async.kinds import V2, V2_1
from tests.cli.shell import BODIES, ITEM, ORDER, PERSON, Shell, bodies_v2, shell_fixture
from tests.cli.support import (
    TOKEN,
    Json,
    broken_pipe,
    cdp_orders,
    ended,
    full_disk,
    orders,
    orders_v2,
    started,
    watched,
    write,
)

__all__ = ["shell_fixture"]

NOBODY = str(UUID(int=1))
CHANGES = {"orders": "status=CONFIRMED", "items": "name=AZ11", "contacts": "city=canary", "consumers": "city=canary"}
OPERATIONS = [(kind.name, verb) for kind in V2_1.kinds for verb in V2_1.table.routes_of(kind.name)]
OPERATIONS_V2 = [(kind.name, verb) for kind in V2.kinds for verb in V2.table.routes_of(kind.name)]
LACKING = [one for one in OPERATIONS if one not in OPERATIONS_V2]

REFUSED: list[tuple[tuple[str, ...], object, str]] = [
    (("orders", "create"), ORDER | {"price": "canary"}, "$.price must be a number"),
    (("orders", "create"), ORDER | {"currencyCode": "euro"}, "$.currencyCode must be"),
    (("orders", "create"), ORDER | {"currencycode": "EUR", "currencyCode": None}, "$.currencycode is no key of"),
    (("orders", "create"), {"referenceId": "B", "currency": "EUR"}, "did you mean currencyCode?"),
    (("orders", "create"), ORDER | {"orderItems": []}, "$.orderItems is a resource of its own: use items create"),
    (("orders", "create"), ORDER | {"extensions": []}, "use order-extensions create"),
    (("items", "create", NOBODY), ITEM | {"extensions": []}, "use item-extensions create"),
    (("items", "create", NOBODY), ITEM | {"shade": "canary"}, "put its values into the item's extension"),
    (("orders", "create"), ORDER | {"orderedAt": "2024-01-01T16:17:16"}, "--timezone"),
    (("orders", "create"), [], "$ must be an object"),
    (("orders", "create"), b"", "standard input is empty"),
    (("orders", "create"), b'{"price": 1, "price": 2}', "$.price must be given only once"),
    (("orders", "create"), b'{"price": canary', "$ must be JSON: "),
    (("orders", "create"), b'{"price": 1.00000000000000000001}', "$.price must be a number that arrives digit"),
    (("orders", "create", "none.json"), None, "none.json cannot be read: No such file or directory"),
    (("orders", "create", "--sett", "a=1"), None, "--sett"),
    (("orders", "create", "--api", "v2"), ORDER, "$.pointOfSale is required"),
    (("contacts", "create", NOBODY), PERSON | {"guest": NOBODY}, "$.guest is no key of"),
    (("contacts", "create", NOBODY), PERSON | {"dateOfBirth": "2999-01-01"}, "$.dateOfBirth must be"),
    (
        ("contacts", "create", NOBODY),
        PERSON | {"identifiers": [{"provider": "x"}]},
        "$.identifiers[0].id is required",
    ),
    (("contacts", "create", NOBODY), PERSON | {"emails": "canary"}, "$.emails must be a list"),
    (("order-extensions", "create", NOBODY), {"snake_case": 1}, "$.snake_case each key must be camelCase"),
    (("order-extensions", "create", NOBODY), {"ref": 1}, "$.ref is a key that the server sets itself"),
    (("order-extensions", "create", NOBODY), {"deep": {}}, "$.deep must be text, a boolean or a number"),
    (("orders", "update", NOBODY), {"referenceId": "canary"}, "$.referenceId cannot be changed by an update"),
    (("orders", "update", NOBODY, "--set", "stats=X"), None, "did you mean status?"),
    (("orders", "update", NOBODY, "--set", "status"), None, "--set must be NAME=VALUE"),
    (
        ("orders", "update", NOBODY, "--set", "status=A", "--set", "status=B"),
        None,
        "$.status must be given only once",
    ),
    (("orders", "update", NOBODY, "--set", "price=canary"), None, "$.price must be a number"),
    (("orders", "update", NOBODY, "o.json", "--set", "price=1"), None, "either --set or FILE"),
    (("orders", "get", "canary"), None, "REF must be a UUID"),
    (("items", "list", "canary"), None, "ORDER_REF must be a UUID"),
    (("orders", "list"), None, "--reference-id, --guest-ref: exactly one"),
    (("orders", "delete", NOBODY), None, "nobody is at a terminal to be asked, and nothing was done: add --yes"),
    (("orders", "delete"), None, "REF"),
    (("order-extensions", "delete-fields", NOBODY, "--yes"), None, "KEY must be given"),
]
"""Commands, their input, and what the refusal says."""


def words_of(shell: Shell, name: str, verb: str, api: str) -> tuple[list[str], Json | None]:
    """Return the words of a command that does something to a resource that was made, and its input."""
    if verb == "create" and name == "orders":
        return [], (BODIES if api == "v2.1" else bodies_v2())[name]
    if verb == "create" and name.endswith("extensions"):
        owners, ref = shell.made("orders" if name == "order_extensions" else "items", api)
    else:
        owners, ref = shell.made(name, api)
    if verb == "list" and name == "orders":
        return ["--reference-id", "B-1" if api == "v2.1" else "B-0"], None
    if verb in {"create", "list"}:
        words = [ref] if verb == "create" and name.endswith("extensions") else owners
        return words, (BODIES if api == "v2.1" else bodies_v2())[name] if verb == "create" else None
    if verb == "update" and api == "v2.1":
        return [ref, "--set", CHANGES.get(name, "seatsLeft=7")], None
    if verb in {"replace", "update"}:
        return [ref], (BODIES if api == "v2.1" else bodies_v2())[name]
    more = {"delete": ["--yes"], "delete_fields": ["seatsLeft", "--yes"]}
    return [ref, *more.get(verb, [])], None


@pytest.mark.parametrize(("name", "verb"), OPERATIONS, ids=map(".".join, OPERATIONS))
def test_each_operation(shell: Shell, name: str, verb: str) -> None:
    """Each operation of version 2.1 is a command, and prints what the server has in the names of the wire."""
    words, given = words_of(shell, name, verb, "v2.1")
    before = shell.effects()
    printed = shell(name.replace("_", "-"), verb.replace("_", "-"), *words, given=given)
    assert shell.err == ""
    assert shell.effects() - before == (0 if verb in {"get", "list", "items"} else 1)
    if verb in {"delete", "items"}:  # this consumer uses none
        assert printed == []
        return
    [got] = printed
    assert {"ref", "href", "createdAt", "modifiedAt"} <= got.keys()
    expected = dict(BODIES[name])
    if verb == "update":
        field, _, value = CHANGES.get(name, "seatsLeft=7").partition("=")
        expected[field] = 7 if value == "7" else value
    if verb == "delete_fields":
        del expected["seatsLeft"]
        assert "seatsLeft" not in got
    assert {key: got[key] for key in expected} == expected


@pytest.mark.parametrize(("name", "verb"), OPERATIONS_V2, ids=map(".".join, OPERATIONS_V2))
def test_each_operation_of_version_2(shell: Shell, name: str, verb: str) -> None:
    """Each operation that version 2 has is a command with --api v2."""
    words, given = words_of(shell, name, verb, "v2")
    printed = shell(name.replace("_", "-"), verb.replace("_", "-"), *words, "--api", "v2", given=given)
    expected = bodies_v2()[name]
    expected.pop("orderedAt", None)  # with milliseconds
    assert [{key: got[key] for key in expected} for got in printed] == ([] if verb == "delete" else [expected])


def test_a_token_that_the_server_repeats_is_masked(shell: Shell) -> None:
    """It is in no output, in whichever form, also where the order has it; the rest is printed."""
    basic = base64.b64encode(f"key:{TOKEN}".encode()).decode()
    order = ORDER | {
        "pointOfSale": f"it is {TOKEN.upper()}",
        "cardType": "".join(f"%{ord(char):02x}" for char in TOKEN),
    }
    [made] = shell("orders", "create", given=order)
    shell("order-extensions", "create", made["ref"], given={"seen": f"Basic {basic}", "canaryToken": 7})
    printed = [
        made,
        *shell("orders", "get", made["ref"]),
        *shell("orders", "list", "--reference-id", ORDER["referenceId"]),
        *shell("orders", "get", made["ref"], "--whole"),
        *shell("order-extensions", "get", made["ref"]),
    ]
    assert [one["pointOfSale"] for one in printed[:-1]] == ["it is ***"] * 4
    text = orjson.dumps(printed).decode().lower()
    assert "***" in text
    assert "token" not in text
    assert basic[4:-4].lower() not in text


@pytest.mark.parametrize(("name", "verb"), LACKING, ids=map(".".join, LACKING))
def test_what_version_2_lacks(shell: Shell, name: str, verb: str) -> None:
    """An operation that version 2 does not have is refused in a sentence, before anything is read or sent."""
    words = [NOBODY] if verb != "delete_fields" else [NOBODY, "k"]
    command = name.replace("_", "-")
    assert f"version 2 of the API has no {command}" in shell.refused(
        command, verb.replace("_", "-"), *words, "--api", "v2"
    )


def test_whole_orders_are_lines_of_input(shell: Shell, tmp_path: Path) -> None:
    """What --whole prints is what was loaded; loaded into another server, it is the same there."""
    given = orders(3)
    shell("load", write(tmp_path / "o.jsonl", given), "--json")
    lines = [shell("orders", "list", "--reference-id", f"B-{n}", "--whole")[0] for n in range(3)]
    assert [shell("orders", "get", line["ref"], "--whole") for line in lines] == [[line] for line in lines]
    assert list(map(parse_graph, lines)) == list(map(parse_graph, given))
    shell.served.reset()
    [report] = shell("load", write(tmp_path / "again.jsonl", lines), "--json")
    assert report["loaded"] == 3
    again = [shell("orders", "list", "--reference-id", f"B-{n}", "--whole")[0] for n in range(3)]
    assert list(map(parse_graph, again)) == list(map(parse_graph, given))


def test_whole_orders_of_version_2(shell: Shell, tmp_path: Path) -> None:
    """Version 2 lists links only, and its whole orders are lines of input too."""
    given = orders_v2(1)
    version = ("--api", "v2")
    shell("load", write(tmp_path / "o.jsonl", given), "--json", *version)
    [line] = shell("orders", "list", "--reference-id", "B-0", "--whole", *version)
    assert parse_graph(line, V2) == parse_graph(given[0] | {"orderItems": without_extensions(given[0])}, V2)


def without_extensions(order: Json) -> list[Json]:
    """Return the items of an order as version 2 takes them."""
    items: list[Json] = order["orderItems"]
    return [{key: value for key, value in item.items() if key != "extensions"} for item in items]


def test_what_a_whole_line_cannot_say_is_told(shell: Shell) -> None:
    """An item that a consumer uses, and that has no reference id, is named beside the line, and the status is 1."""
    [order] = shell("orders", "create", given=ORDER)
    [item] = shell("items", "create", order["ref"], given={**ITEM, "referenceId": None})
    [consumer] = shell("consumers", "create", order["ref"], given={**PERSON, "orderItems": [item["ref"]]})
    [line] = shell("orders", "get", order["ref"], "--whole", status=1)
    assert "orderItems" not in line["consumers"][0]
    assert f"consumer {consumer['ref']} uses items that have no reference id" in shell.err


@pytest.mark.parametrize("name", ["orders", "items", "contacts", "consumers", "order_extensions", "item_extensions"])
def test_an_answer_can_be_sent_again(shell: Shell, name: str) -> None:
    """What get prints, replace takes, and nothing changes."""
    command = name.replace("_", "-")
    _, ref = shell.made(name)
    [got] = shell(command, "get", ref)
    [again] = shell(command, "replace", ref, given=got)
    assert {**again, "modifiedAt": ""} == {**got, "modifiedAt": ""}


def test_links_of_a_consumer(shell: Shell) -> None:
    """The items of a consumer are references, as text or as the server links to them; a link to the list is refused."""
    [order] = shell("orders", "create", given=ORDER)
    [item] = shell("items", "create", order["ref"], given=ITEM)
    [consumer] = shell("consumers", "create", order["ref"], given={**PERSON, "orderItems": [item["ref"]]})
    assert shell("consumers", "items", consumer["ref"]) == [item]
    [again] = shell("consumers", "replace", consumer["ref"], given=consumer)
    assert again["orderItems"] == consumer["orderItems"]
    assert shell("consumers", "update", consumer["ref"], "--set", f'orderItems=["{item["ref"]}"]')[0]["orderItems"]
    link = {"href": f"{shell.served.base_url}/v2.1/orderConsumers/{consumer['ref']}/orderItems"}
    told = shell.refused("consumers", "replace", consumer["ref"], given={**consumer, "orderItems": link})
    assert "$.orderItems must be a list of references of items" in told
    assert "$.orderItems[0] must be" in shell.refused("consumers", "create", order["ref"], given={"orderItems": ["x"]})


def test_lists_come_page_by_page(shell: Shell) -> None:
    """A list has a line for each entry, over all pages; --limit ends it, and bounds the page that is asked for."""
    [order] = shell("orders", "create", given=ORDER)
    refs = [shell("items", "create", order["ref"], given={**ITEM, "referenceId": f"A-{n}"})[0]["ref"] for n in range(5)]
    shell.served.switches = Switches(limit_max=2)
    assert {line["ref"] for line in shell("items", "list", order["ref"])} == set(refs)
    for limit in (1, 2, 3, 5, 9):
        assert len(shell("items", "list", order["ref"], "--limit", limit)) == min(limit, 5)
    shell.served.switches = Switches(ignore_expand=True)
    assert [line["type"] for line in shell("items", "list", order["ref"])] == ["MOBILE"] * 5
    assert "--limit must be at least 1" in shell.refused("items", "list", order["ref"], "--limit", "0")


@pytest.mark.parametrize(("words", "given", "expected"), REFUSED, ids=str)
def test_input_is_checked_before_anything_is_sent(
    shell: Shell, words: tuple[str, ...], given: object, expected: str
) -> None:
    """Bad input is one sentence with the field and its rule, status 2, and no request."""
    assert expected in shell.refused(*words, given=given)
    assert shell.served.ledger()["requests"] == {}


def test_values_by_set(shell: Shell) -> None:
    """A value is JSON or else text, and a name is the wire's, or Python's."""
    _, ref = shell.made("items")
    words = ["quantity=2", "original_price=9.5", 'name="12"', "description=a = b", "vendor=null and void"]
    [got] = shell("items", "update", ref, *(word for value in words for word in ("--set", value)))
    assert [got[key] for key in ("quantity", "originalPrice", "name", "description", "vendor")] == [
        *(2, 9.5, "12", "a = b", "null and void")
    ]


def test_timezone(shell: Shell) -> None:
    """Times without a zone are read in the one that is told."""
    local = ORDER | {"orderedAt": "2024-07-01T16:17:16"}
    [got] = shell("orders", "create", "--timezone", "Europe/Dublin", given=local)
    assert got["orderedAt"] == "2024-07-01T15:17:16Z"


def test_nothing_that_a_terminal_obeys_is_printed(shell: Shell) -> None:
    """What a terminal would obey, or could not show, is escaped."""
    text = "\x1b[2J\u202e\x7f\u2028 \u00e9"
    _, ref = shell.made("order_extensions")
    assert shell("order-extensions", "update", ref, given={"note": text})[0]["note"] == text


@pytest.mark.parametrize("status", [400, 404, 409])
def test_refusals_of_the_api(shell: Shell, status: int) -> None:
    """A refusal is one sentence, says that nothing was done, and gives 1."""
    shell.served.faults = faults("items.update", "status", status=status)
    told = shell.refused("items", "update", NOBODY, "--set", "name=AZ", status=1)
    assert f": {status} " in told
    assert "nothing was changed" in told
    assert ("nothing is stored under this reference" in told) == (status == 404)


def test_credentials_and_place(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong credentials, no server and something else than the API give 2, and the next command."""
    assert "cdp-orders config" in shell.refused("orders", "get", NOBODY, "--client-key", "other")
    told = shell.refused("orders", "create", "--base-url", "http://127.0.0.1:1", given=ORDER)
    assert "nothing was created" in told
    assert "cdp-orders config" in told
    shell.served.faults = faults("orders.get", "html", status=404)
    assert "the answer is not one of the API" in shell.refused("orders", "get", NOBODY)
    monkeypatch.delenv("CDP_API_TOKEN")
    assert "must be given together" in shell.refused("orders", "get", NOBODY)


@pytest.mark.parametrize(
    ("words", "look"),
    [
        (("orders", "create"), "orders list --reference-id 'B 1'"),
        (("items", "create", NOBODY), f"items list {NOBODY}"),
        (("order-extensions", "create", NOBODY), f"order-extensions get {NOBODY}"),
    ],
    ids=str,
)
def test_a_lost_answer_of_a_create(shell: Shell, words: tuple[str, ...], look: str) -> None:
    """A create whose answer was lost may have been done; the sentence has the command that looks; status 1."""
    name = words[0].replace("-", "_")
    shell.served.faults = faults(f"{name}.create", "close", phase="written")
    given = BODIES[name] | ({"referenceId": "B 1"} if name == "orders" else {})
    told = shell.refused(*words, "--base-url", shell.served.base_url, given=given, status=1)
    expected = f"it may have been created: look with cdp-orders {look} --base-url {shell.served.base_url}"
    assert expected in told


def faults(operation: str, action: str, **more: str | int) -> Faults:
    """Return a plan of one fault."""
    fault: Json = {"operation": operation, "action": action, **more}
    return Faults.of({"faults": [fault]})


class Terminal(io.StringIO):
    """A terminal at which a person types."""

    def isatty(self) -> bool:
        """Be one."""
        return True


@pytest.mark.parametrize(
    ("answer", "deletes"), [("yes\n", True), ("y\n", False), ("\n", False), ("", False), ("no\n", False)]
)
def test_deletes_ask(shell: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, *, deletes: bool) -> None:
    """On a terminal a delete asks, and only a yes deletes."""
    _, ref = shell.made("items")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert main(["items", "delete", ref]) == (0 if deletes else 2)
    shell("items", "get", ref, status=1 if deletes else 0)


def test_input_is_not_awaited_from_a_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is given no JSON does not wait for a person to type it."""
    assert shell.served.base_url
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert main(["orders", "create"]) == 2


async def test_a_reader_that_has_enough(tmp_path: Path) -> None:
    """Under head a list ends in silence."""
    async with watched() as server:
        env = server.environment
        [line] = (
            await cdp_orders("orders", "create", cwd=tmp_path, env=env, given=orjson.dumps(ORDER))
        ).out.splitlines()
        with broken_pipe() as pipe:
            words = ("orders", "get", orjson.loads(line)["ref"])
            async with started(*words, cwd=tmp_path, env=env, stdout=pipe) as process:
                ran = await ended(process)
        with full_disk() as full:
            async with started("orders", "create", cwd=tmp_path, env=env, stdin=PIPE, stdout=full) as process:
                unwritten = await ended(process, orjson.dumps({**ORDER, "referenceId": "B-2"}))
    assert (ran.status, ran.err) == (0, "")
    assert unwritten.status == 2
    assert "the output cannot be written: No space left on device" in unwritten.err
    assert "It was created; look with cdp-orders orders list --reference-id B-2" in unwritten.err


async def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a write says that it may have been done, and how to look; the status is 130."""
    stall = {"operation": "orders.create", "action": "stall", "seconds": 999}
    async with (
        watched({"faults": [stall]}) as server,
        started("orders", "create", cwd=tmp_path, env=server.environment, stdin=PIPE) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(ORDER))
        process.stdin.write_eof()
        await server.has_received(1)
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
    assert ran.status == 130
    assert ran.err == "Stopped: it may have been created; look with cdp-orders orders list --reference-id B-1\n"


@pytest.mark.parametrize(("name", "verb"), OPERATIONS, ids=map(".".join, OPERATIONS))
def test_help_of_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, verb: str
) -> None:
    """The help of each command has an example of it, and says of each parameter what it is."""
    monkeypatch.setattr(cli.app, "console", Console(width=300))
    words = (name.replace("_", "-"), verb.replace("_", "-"))
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: cdp-orders {' '.join(words)} " in text
    rows: list[tuple[str, str]] = re.findall(
        r"^│\s+(?:\*\s+)?((?:--)?[\w-]+)(?: [A-Z=]+)?\s{2,}(\S.*?)\s*│$", text, re.MULTILINE
    )
    assert [row for row, told in rows if not re.match(r"[A-Z].*\w\.", told)] == []
    assert {row for row, _ in rows} >= {"--profile", "--base-url"}


def test_examples_run(shell: Shell) -> None:
    """The example of each help is a command that is understood."""
    for name, verb in OPERATIONS:
        route = V2_1.table.routes_of(name)[verb]
        [kind] = [kind for kind in V2_1.kinds if kind.name == name]
        (example,) = re.findall(r"Example: cdp-orders ([^|]*)", text_of(kind, verb, route))
        words = [word for word in example.split() if not word.endswith(".json")]
        finds_nothing = owner_of(route) is not None
        shell(*words, given=BODIES[name], status=1 if finds_nothing else 0)
        assert "Traceback" not in shell.err
