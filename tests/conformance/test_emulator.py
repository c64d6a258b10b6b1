"""The emulator is what the OpenAPI file describes, as a tool sees it that knows nothing but the file."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson

from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.emulator.operations import V2_1, Reply
from cdp_orders_async.emulator.service import Asked, Endpoint
from cdp_orders_async.kinds import V2_1 as KNOWN
from tests.conformance.contract import Json, document, operations
from tests.emulator.talking import Talk, talking

SCHEMATHESIS = "from schemathesis.cli import schemathesis; schemathesis()"
MADE_BY = {
    "createOrder": "orderRef",
    "createOrderItem": "orderItemRef",
    "createOrderContact": "orderContactRef",
    "createOrderConsumer": "orderConsumerRef",
}
"""What makes the references that paths take."""
WRITTEN: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("OrderWrite", "OrderPatch"), frozenset(("referenceId", "orderedAt", "price", "currencyCode"))),
    **dict.fromkeys(
        ("OrderItemWrite", "OrderItemPatch"), frozenset(("type", "name", "price", "currencyCode", "status"))
    ),
    **dict.fromkeys(("OrderContactWrite", "OrderConsumerWrite"), frozenset[str]()),
}
"""The schemas of bodies, and the keys that may not be null."""
KINDS = {"orderRef": "orders", "orderItemRef": "items", "orderContactRef": "contacts", "orderConsumerRef": "consumers"}
RESERVED = ["name", "href", "ref", "key", "createdAt", "modifiedAt", "order", "orderItem"]

BESIDE: Mapping[str, str] = {"guests.get": "links to guests lead there; the Guest API is not described by this file"}
"""What the emulator serves beside the file, and why."""

CONFIG = """
[generation]
mode = "all"  # right data and wrong
deterministic = true  # one seed for ever
database = "none"
allow-extra-parameters = false  # what nobody asked for is ignored
with-security-parameters = false  # the credentials below; the tool still tries without them

[auth.basic]
username = "key"
password = "token"

[phases.coverage]
unexpected-methods = []  # a method that is not served is 405, as for other paths

[phases.stateful]
max-steps = 20
inference.algorithms = []  # the links below say it

# That exactly one of referenceId and guestRef is needed is beyond a description of parameters.
[[operations]]
include-operation-id = "listOrders"
checks.positive_data_acceptance.enabled = false
"""

# An order keeps its referenceId and orderedAt: other ones, however valid, are refused.
KEPT = """
[[operations]]
include-operation-id = ["updateOrder", "patchOrder"]
checks.positive_data_acceptance.enabled = false
"""

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")


def test_routes_are_those_of_the_file() -> None:
    """The emulator serves what the file describes, path by path and method by method, and only what is said beside."""
    described = {(each.method, re.sub(r"\{\w+\}", "{}", each.path)) for each in operations()}
    served = {
        (route.method, re.sub(r"\{\w+\}", "{}", route.path.replace("/extensions/ext", "/extensions/{ext}")))
        for route in V2_1.operations
        if route.operation not in BESIDE
    }
    assert served == described
    emulator = Emulator()
    for path in {path for _, path in described}:
        found = {method for method in METHODS if emulator.find(method, path)[0].operation}
        assert found == {method for method, known in described if known == path}


def annotated() -> Json:
    """Return the file with what it says in words, and what the emulator adds to it, where a tool reads it."""
    file = document()
    schemas, parameters = file["components"]["schemas"], file["components"]["parameters"]
    # "Larger values are served with at most 100 items"; and of expand only "true" is documented, so all else is false.
    del parameters["Limit"]["schema"]["maximum"]
    parameters["Expand"]["schema"] = parameters["GuestRef"]["schema"] = {"type": "string"}
    schemas["Identifier"]["properties"]["expiryDate"]["type"] = ["string", "null"]
    # "Keys alphanumeric in camel case", and the server's own keys cannot be set.
    schemas["ExtensionWrite"]["propertyNames"] = {"pattern": "^[a-z][A-Za-z0-9]*$", "not": {"enum": RESERVED}}
    # A consumer's items must be of its order, so there are none here.
    none = {"type": "object", "properties": {"items": {"type": "array", "maxItems": 0}}, "required": ["items"]}
    schemas["OrderConsumerWrite"]["properties"]["orderItems"] = none
    for name, required in WRITTEN.items():
        properties = schemas[name]["properties"]
        for key in properties.keys() - required:  # null is nothing, where nothing is allowed
            properties[key] = {"anyOf": [properties[key], {"type": "null"}]}
        for key in properties.keys() & {"createdAt", "modifiedAt"}:  # "expected to be ignored", whatever they are
            del properties[key]
        for key in properties.keys() & {"quantity"}:  # "int32", here without 2.0 and without the least of them
            properties[key] = {"enum": [1, 2, 2**31 - 1, None]}
    for methods in file["paths"].values():
        for says in methods.values():
            if "requestBody" in says:  # another content type gives 415, as on the vendor's page of response codes
                says["responses"]["415"] = {"$ref": "#/components/responses/BadRequest"}
            if place := MADE_BY.get(says["operationId"]):
                users = [each.id for each in operations() if place in each.places]
                says["responses"]["201"]["links"] = {
                    user: {"operationId": user, "parameters": {f"path.{place}": "$response.body#/ref"}}
                    for user in users
                }
    return file


class Witness(Emulator):
    """An emulator that counts what it answers."""

    answers: Counter[tuple[str, int]]

    def answer(self, endpoint: Endpoint, open_segments: list[str], asked: Asked) -> Reply:
        """Answer, and count."""
        reply = super().answer(endpoint, open_segments, asked)
        self.answers[endpoint.operation, reply.status] += 1
        return reply


async def explore(talk: Talk, folder: Path, config: str, phases: str, examples: int) -> str:
    """Let the tool try whatever it wants with the emulator; return what it reports if anything is wrong."""
    (folder / "file.json").write_bytes(orjson.dumps(annotated()))
    (folder / "config.toml").write_text(config, encoding="utf-8")
    options = ["--no-color", "--url", talk.base_url, "--phases", phases, "--max-examples", str(examples)]
    command = [sys.executable, "-c", SCHEMATHESIS, "--config-file", "config.toml", "run", "file.json", *options]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate()
    return said.decode() if process.returncode else ""


def witness(switches: Switches) -> Witness:
    """Return an emulator at the end of time, where every date of birth is in the past."""
    emulator = Witness(switches=switches, clock=lambda: datetime.max.replace(tzinfo=UTC))
    emulator.answers = Counter()
    return emulator


async def test_answers_are_those_of_the_file(tmp_path: Path) -> None:
    """Examples, every boundary of every parameter and key, and random data, right and wrong, get described answers."""
    emulator = witness(Switches(upsert=False, refuse_identity_change=False))
    async with talking(emulator=emulator) as talk:
        config = CONFIG
        for operation in operations():  # each has something of its own to work on, and to delete
            refs = await talk.graph()
            parameters = ", ".join(
                f'"{place}" = "{refs[KINDS[place]]}"' for place in operation.places if place in KINDS
            )
            config += f'[[operations]]\ninclude-operation-id = "{operation.id}"\nparameters = {{ {parameters} }}\n'
        emulator.answers.clear()
        assert await explore(talk, tmp_path, config, "examples,coverage,fuzzing", 5) == ""
    assert {name for name, status in emulator.answers if status in {200, 201, 204}} == {
        route.operation for route in KNOWN.table.routes()
    }
    assert {status for _, status in emulator.answers} == {200, 201, 204, 400, 401, 404, 415}
    assert emulator.answers.total() > 2500
    assert sum(count for (_, status), count in emulator.answers.items() if status < 400) > 1000
    assert sum(count for (_, status), count in emulator.answers.items() if status == 400) > 1000


async def test_stories_are_those_of_the_file(tmp_path: Path) -> None:
    """What is created can be read, changed, listed and deleted, and what is deleted is gone, in any order of calls."""
    emulator = witness(Switches())
    async with talking(emulator=emulator) as talk:
        assert await explore(talk, tmp_path, CONFIG + KEPT, "stateful", 60) == ""
    assert len({name for name, status in emulator.answers if status in {200, 201, 204}}) > 30
    assert {name for name, status in emulator.answers if status == 204} >= {f"{kind}.delete" for kind in KINDS.values()}
    assert emulator.answers.total() > 800
