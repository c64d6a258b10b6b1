"""The OpenAPI file of version 2.1: its operations, and what a request to each of them must be like."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import jsonschema_rs
import orjson
import yaml

Json = dict[str, Any]

FILE = Path(__file__).parents[1] / "data" / "openapi-v2.1.yaml"


@functools.cache
def _read() -> bytes:
    return orjson.dumps(yaml.safe_load(FILE.read_bytes()))


def document() -> Json:
    """Return what the file says, a copy to change."""
    read: Json = orjson.loads(_read())
    return read


@attrs.frozen
class Operation:
    """One operation of the file."""

    method: str
    path: str
    id: str
    places: tuple[str, ...]
    """The names of the open segments of its path, in order."""
    queries: Mapping[str, Json]
    """The parameters of its query."""
    body: Json | None
    """The schema of its body."""

    def open_segments(self, method: str, path: str) -> tuple[str, ...] | None:
        """Return the texts of the open segments where a request is to this operation, else None."""
        match = re.fullmatch(re.sub(r"\{\w+\}", "([^/]+)", self.path), path) if method == self.method else None
        return None if match is None else match.groups()

    def misfits(self, segments: tuple[str, ...], query: Mapping[str, str], body: bytes | None) -> Iterator[str]:
        """Yield what is wrong with a request to this operation."""
        for name, value in zip(self.places, segments, strict=True):
            yield from errors(PATH_PARAMETERS[name]["schema"], value, name)
        for name, value in query.items():
            if name in self.queries:
                yield from errors(self.queries[name]["schema"], typed(value, self.queries[name]["schema"]), name)
            else:
                yield f"{name}: is no parameter"
        if (self.body is None) != (body is None):
            yield "body: is missing, or was not expected"
        elif self.body is not None and body is not None:
            yield from errors(self.body, orjson.loads(body), "body")


def operations() -> Iterator[Operation]:
    """Yield the operations of the file."""
    whole = document()
    for path, methods in whole["paths"].items():
        for method, says in methods.items():
            named = [
                whole["components"]["parameters"][p["$ref"].rpartition("/")[2]] for p in says.get("parameters", ())
            ]
            body = says.get("requestBody")
            yield Operation(
                method.upper(),
                path,
                says["operationId"],
                tuple(re.findall(r"\{(\w+)\}", path)),
                {each["name"]: each for each in named if each["in"] == "query"},
                None if body is None else body["content"]["application/json"]["schema"],
            )


PATH_PARAMETERS: Mapping[str, Json] = {
    each["name"]: each for each in document()["components"]["parameters"].values() if each["in"] == "path"
}


def typed(value: str, schema: Json) -> object:
    """Return the text of a query as its schema sees it."""
    match schema["type"]:
        case "integer":
            return int(value) if re.fullmatch(r"-?\d+", value, re.ASCII) else value
        case "boolean":
            return {"true": True, "false": False}.get(value, value)
        case "array":
            return value.split("|")
        case _:
            return value


def errors(schema: Json, value: object, where: str) -> Iterator[str]:
    """Yield what is wrong with *value*."""
    for error in _validator(orjson.dumps(schema)).iter_errors(value):
        yield f"{where}: {error.message}"


@functools.cache
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    """Make a validator that refuses keys which the file does not name."""
    components = document()["components"]
    components["schemas"] = {
        name: {"unevaluatedProperties": False, **each} if "additionalProperties" not in each else each
        for name, each in components["schemas"].items()
    }
    whole = {**orjson.loads(schema), "components": components}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
