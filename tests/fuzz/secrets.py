"""What keeps secrets out of texts: whatever a server says around them, and in whatever form."""

from __future__ import annotations

from hypothesis import strategies as st

from cdp_orders_async import Refused, Request
from cdp_orders_async.errors import shown_key
from cdp_orders_async.redact import Secrets, mask_unknown_words
from cdp_orders_async.redact.words import SERVER_WORDS
from cdp_orders_async.wire import parse_response, reads_nothing
from tests.fuzz.corpus import dumped, mutated
from tests.fuzz.engine import Target, pure
from tests.security.gateways import FORMS

TOKEN = "Zq7-xYw_93/Kd+pLmV"  # noqa: S105 it guards nothing
SECRETS = Secrets(TOKEN, f"key:{TOKEN}")
MOST = 300
KEPT = {form: write(TOKEN).lower() for form, write in FORMS.items()}
"""What must not be left of the token, in each form."""

said = st.lists(
    st.sampled_from([*(write(TOKEN) for write in FORMS.values()), TOKEN[:9], TOKEN[9:]])
    | st.sampled_from(sorted(SERVER_WORDS))
    | st.text(max_size=8)
    | st.sampled_from(["%", "&", "&#", "\\u00", "\\", "%25", "amp;", " ", "\n"]),
    max_size=12,
).map("".join)


def secrets(data: bytes) -> None:
    """Keep of an answer what may be kept."""
    text = data.decode(errors="replace")
    masked = SECRETS.masked(text)
    assert SECRETS.masked(masked) == masked
    assert [form for form, one in KEPT.items() if len(one) > 8 and one in masked.lower()] == []
    start = SECRETS.start(data, MOST)
    assert len(start) <= MOST
    assert TOKEN.encode()[:8] not in start
    kept = mask_unknown_words(masked, MOST, known={"firstName"})
    assert len(kept) <= MOST
    assert kept.isprintable()
    assert kept.isascii()
    assert shown_key(text).removesuffix("\N{HORIZONTAL ELLIPSIS}").isascii()
    request = Request("contacts.create", "POST", "/x", reads_nothing, body=b'{"lastName":"may"}')
    refused = refusal(request, dumped({"message": text, "developerMessage": text}))
    assert KEPT["as it is"] not in f"{refused!r}".lower()
    assert len(str(refused)) < 1100


def refusal(request: Request[None], body: bytes) -> Refused:
    """Return the error that an answer is."""
    try:
        parse_response(request, 400, body, None, SECRETS)
    except Refused as refused:
        return refused
    raise AssertionError


TARGETS = (Target("secrets", mutated(said.map(lambda text: text.encode(errors="replace"))), pure(secrets)),)
