"""What a server repeats of the credentials and of people is in no text, whatever it says it in."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import attrs
import orjson
import pytest

from cdp_orders_async import (
    CdpError,
    ExtensionValue,
    Identifier,
    NewConsumer,
    NewContact,
    OutcomeUnknown,
    Refused,
    Unreadable,
)
from tests import calls
from tests.calls import Refs
from tests.cli.support import cdp_orders, lines_of, write
from tests.security.canaries import BORN, TOKEN, WHOLE, client, failure
from tests.security.gateways import FORMS, Gateway
from tests.security.sinks import OF_ERRORS
from tests.servers import Reply, serving

PERSON = NewContact(
    title="canary-title",
    first_name="山田太郎",
    last_name="Ñandú O'Canary",
    date_of_birth=BORN,
    emails=("canary@example.com",),
    phone_numbers=("+353 87 1815 018", "087 18 15 01"),
    identifiers=(Identifier(provider="CRM", id="8150181501"),),
    street=("12 Canary Street", "z" * 3000),
)
PAIRS: Mapping[str, ExtensionValue] = {"note": "canary note", "phone": 353871815018, "rate": 18150.18}
CONSUMER = NewConsumer(first_name="Canary", phone_numbers=("0871815018",))
PAIR = base64.b64encode(f"key:{TOKEN}".encode()).decode()
PERSONAL = (
    "canary",
    "山田",
    "太郎",
    "ñandú",
    "1815-01",
    "8150181501",
    "353 87",
    "087 18",
    "871815018",
    "18150.1",
    "zzzz",  # no digits of a random id, which a report of an error has
)
REPEATED = {
    *(*PERSONAL, TOKEN, PAIR.lower()),
    *(form(secret).lower() for form in FORMS.values() for secret in (TOKEN, PAIR, *PERSONAL) if len(form(secret)) > 6),
}
"""What must be nowhere; some forms leave so little of it that it may be anywhere."""
REFS = Refs(*(UUID(int=n) for n in range(4)))
STATUSES = (400, 401, 403, 404, 409, 418, 422, 429, 500, 503, 302)


@pytest.fixture(autouse=True)
def _people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the calls be about somebody."""
    monkeypatch.setattr(calls, "CONTACT", PERSON)
    monkeypatch.setattr(calls, "PAIRS", PAIRS)
    monkeypatch.setattr(calls, "consumer", consumer)


def consumer(_: Refs) -> NewConsumer:
    """Return a consumer in place of the usual one."""
    return CONSUMER


def contents(folder: Path) -> dict[str, str]:
    """Read all files of a folder, by name."""
    return {path.name: path.read_bytes().decode("latin-1") for path in folder.iterdir()}


def texts(error: BaseException) -> str:
    """Return what an error says of itself, and of what led to it."""
    told = [str(error), repr(error), OF_ERRORS["pickle"](error), OF_ERRORS["vars"](error)]
    return "\n".join([*told, *([] if error.__cause__ is None else [texts(error.__cause__)])])


def repeated(text: str) -> list[str]:
    """Return what *text* has of the credentials and of people, as it is or in another form."""
    low = text.lower()
    return [one for one in REPEATED if one in low]


def answered(error: BaseException | None) -> Refused | Unreadable:
    """Return the answer that an error is, or that it comes from."""
    cause = error.__cause__ if isinstance(error, OutcomeUnknown) else error
    assert isinstance(cause, (Refused, Unreadable))
    return cause


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("form", FORMS)
async def test_no_text_repeats_a_secret_in_any_form(form: str) -> None:
    """Nothing that a server repeats is in a text of the error of any operation, in whatever form it says it."""
    kind = type("Kind", (Gateway,), {"form": form, "statuses": (400, 401, 500, 302)})
    async with serving(kind=kind) as server, client(server.url) as cdp:
        for operation, call in calls.CALLS.items():
            error = await failure(call(cdp, REFS))
            assert isinstance(error, CdpError), operation
            assert repeated(texts(error)) == [], operation
            refused = answered(error)
            assert isinstance(refused, Refused)
            assert refused.message is not None
            assert refused.message.startswith("Cannot take")
            assert refused.message.isascii()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("form", FORMS)
async def test_what_is_kept_aside_has_no_credentials(form: str) -> None:
    """The start of an answer, which no text shows, has no token in it either, in whatever form it was repeated."""
    for statuses, page in (((400,), False), ((200,), True), ((503,), True)):
        kind = type("Kind", (Gateway,), {"form": form, "statuses": statuses, "page": page})
        async with serving(kind=kind) as server, client(server.url) as cdp:
            error = answered(await failure(calls.CALLS["contacts.create"](cdp, REFS)))
        start = error.start.decode(errors="replace").lower()
        secrets = (TOKEN, PAIR, PAIR.rstrip("="))
        forms = {form(secret).lower() for form in FORMS.values() for secret in secrets}
        assert [one for one in forms if len(one) > 8 and one in start] == []
        assert "***" in start


async def test_a_token_is_masked_before_anything_is_cut() -> None:
    """Wherever the limit of what is kept falls, no half of a token is in it."""
    for before in range(470, 501):
        said = b" " * before + f"{TOKEN} {PAIR}".encode()
        async with serving(Reply(200, said)) as server, client(server.url) as cdp:
            error = answered(await failure(calls.CALLS["orders.get"](cdp, REFS)))
        assert error.start.strip(b" *") == b""
        assert len(error.start) <= 500


@pytest.mark.usefixtures("way")
async def test_no_sink_shows_what_a_server_repeats() -> None:
    """Nor has any traceback, tracker of errors or pickle of the error of any operation a secret, locals included."""
    kind = type("Kind", (Gateway,), {"statuses": STATUSES})
    async with serving(kind=kind) as server, client(server.url) as cdp:
        for operation, call in calls.CALLS.items():
            error = await failure(call(cdp, REFS))
            assert error is not None
            for name, sink in OF_ERRORS.items():
                assert repeated(sink(error)) == [], (operation, name)


async def test_what_servers_say_is_still_legible() -> None:
    """The words in which servers say what is wrong are kept, with the names of fields, and only values are not."""
    said = {
        "firstName: may not be null.": "firstName: may not be null.",
        "contact.emails[0]: is no valid email: ada@example.com": "contact.emails[0]: is no valid email: ***",
        "'Basic a2V5OnRva2Vu' not a valid key=value pair (missing equal-sign) in Authorization header": (
            "*** not a valid key=value pair (missing equal-sign) in Authorization header"
        ),
        "Too many requests.": "Too many requests.",
        'JSON parse error: Cannot deserialize value of type `java.time.Instant` from String "1815"': (
            "JSON parse error: Cannot deserialize value of type *** from String ***"
        ),
        "status: must be one of PURCHASED, CONFIRMED.": "status: must be one of PURCHASED, CONFIRMED.",
    }
    for text, kept in said.items():
        async with serving(Reply(400, orjson.dumps({"message": text}))) as server, client(server.url) as cdp:
            error = answered(await failure(calls.CALLS["orders.get"](cdp, REFS)))
        assert isinstance(error, Refused)
        assert error.message == kept
        assert orjson.loads(error.start)["message"][:20] in text or "***" in error.start.decode()


async def test_a_word_that_was_sent_is_hidden() -> None:
    """A word that is one of a server's own is not kept where it is somebody's name."""
    person = attrs.evolve(PERSON, first_name="May", last_name="Field")
    said = orjson.dumps({"message": "the field may not be May Field"})
    async with serving(Reply(400, said)) as server, client(server.url) as cdp:
        error = answered(await failure(cdp.contacts.create(REFS.orders, person)))
    assert isinstance(error, Refused)
    assert error.message == "the *** not be ***"


async def test_no_output_of_a_load_repeats_a_secret(tmp_path: Path) -> None:
    """Nor is anything of it in the outcomes, on the terminal or in the journal."""
    source = write(tmp_path / "o.jsonl", [WHOLE])
    for form in ("as it is", "Japanese", "each HTML", "half"):

        class Refusing(Gateway):
            pass

        Refusing.form = form
        async with serving(kind=Refusing) as server:
            env = {"CDP_BASE_URL": server.url, "CDP_CLIENT_KEY": "key", "CDP_API_TOKEN": TOKEN}
            ran = await cdp_orders(
                "load", source, "--journal", "j.sqlite", "--outcomes", "out.jsonl", "--verbose", cwd=tmp_path, env=env
            )
        assert ran.status == 1
        assert "Cannot take" in ran.err
        written = {name: text for name, text in contents(tmp_path).items() if name != source.name}
        assert "out.jsonl" in written
        assert repeated("".join((ran.out, ran.err, *written.values()))) == []
        assert lines_of(tmp_path / "out.jsonl")[0]["verdict"] == "failed"
