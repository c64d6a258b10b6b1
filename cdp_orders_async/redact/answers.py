"""The parts of a server's answer that an error may repeat."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from unicodedata import normalize
from urllib.parse import unquote

from cdp_orders_async.redact.holding import Opaque
from cdp_orders_async.redact.words import MASK, SERVER_NUMBERS, SERVER_WORDS

__all__ = ["NO_SECRETS", "Secrets", "collect_words", "mask_unknown_words", "printable"]

MIN_SECRET_LENGTH = 4  # characters; a shorter text protects nothing, and many words contain it
RUN_LENGTH = 8  # characters: so many in a row of a secret are masked anywhere, since a part of it is secret too
ESCAPED_CHARACTER = re.compile(
    r"\\+u00([0-9a-f]{2})|\\+x([0-9a-f]{2})|%(?:25)*([0-9a-f]{2})|&(?:amp;)*(#?[0-9a-z]{1,8};)|\\+(.)", re.IGNORECASE
)
"""One character in the notation of JSON, a program, a URL or HTML, which takes several characters."""
RARELY_ESCAPED_CHARACTER = re.compile(
    r"(?:%(?:25)*u00|\\+u\{0*|\\+u0{6}|=|&(?:amp;)*#x0*)(?P<hex>[0-9a-f]{2})[;}]?|&(?:amp;)*#0*(?P<decimal>\d{2,3});?"
    r"|\\+(?P<octal>[0-7]{3})|(?P<plain>.)(?:[\0\u00ad\u200b]|\\+u0000)+",
    re.IGNORECASE | re.DOTALL,
)
"""The same in rarer notations: those of mail and of other languages, and text of 16 bits, which has NULs between. They
are read apart, because a secret may hold what looks like them."""
WORD = re.compile(r"\w+")
LIST_INDEX = re.compile(r"\[\d{1,3}\]")
"""The index of an entry of a list, as in ``emails[0]``."""


def printable(text: str) -> str:
    """Return *text* on one line, with a replacement character for each unprintable one.

    Others may have written the text, and a terminal would obey control characters.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


class Secrets:
    """The secrets of a client, which are masked in the answers of a server, in any usual coding.

    Parameters: *secrets*, the texts that nobody may see.
    """

    __slots__ = ("_runs", "_secrets")

    def __init__(self, *secrets: str) -> None:
        self._secrets = Opaque(secrets)
        self._runs: Opaque[dict[int, frozenset[str]]] | None = None

    def masked(self, text: str) -> str:
        """Return *text* with ``***`` in place of each secret, of each part of a secret, and of their usual codings."""
        if self._runs is None:
            self._runs = Opaque(_runs_of(self._secrets.open()))
        hidden = bytearray(len(text))
        for escaped in (ESCAPED_CHARACTER, RARELY_ESCAPED_CHARACTER):
            units = list(_units(text, escaped))
            plain = "".join(unit for unit, _, _ in units)
            for length, runs in self._runs.open().items():
                for at in range(len(plain) - length + 1):
                    if plain[at : at + length] in runs:
                        start, end = units[at][1], units[at + length - 1][2]
                        hidden[start:end] = b"\1" * (end - start)
        if not any(hidden):
            return text
        pieces = groupby(zip(text, hidden, strict=True), itemgetter(1))
        return "".join(MASK if hide else "".join(char for char, _ in piece) for hide, piece in pieces)

    def start(self, body: bytes | bytearray, most: int) -> bytes:
        """Return the first *most* bytes of an answer; secrets are masked before the answer is cut."""
        window = body[: 2 * most + 12 * RUN_LENGTH]  # a secret that begins before the cut is complete in it
        return self.masked(window.decode(errors="surrogateescape")).encode(errors="surrogateescape")[:most]


def _runs_of(secrets: Iterable[str]) -> dict[int, frozenset[str]]:
    """Return the runs of characters that identify secrets and their codings, by the length of the run."""
    runs: dict[int, set[str]] = {}
    for secret in (secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH):
        raw = secret.encode()
        # Base64 writes three bytes as four characters, so the code of a secret depends on the bytes before it.
        wide = secret.encode("utf-16-le", errors="replace")
        coded = [
            base64.b64encode(b"\0" * skip + text).decode()[-(-skip * 8 // 6) :].rstrip("=")
            for text in (raw, wide)
            for skip in range(3)
        ]
        latin = raw.decode("latin-1")  # where each byte is escaped separately
        letters = "".join(filter(str.isalnum, secret))
        for form in (
            secret,
            letters if len(letters) >= RUN_LENGTH else "",
            raw.hex(),
            wide.hex(),
            latin,
            *(text[:-1] for text in coded if len(text) > RUN_LENGTH),
        ):
            for text in {form, form.translate({43: "-", 47: "_"})} - {""}:
                plain = _folded(text)
                length = min(RUN_LENGTH, len(plain))
                found = {plain[at : at + length] for at in range(len(plain) - length + 1)}
                runs.setdefault(length, set()).update(found)
    return {length: frozenset(found) for length, found in runs.items()}


def _folded(text: str) -> str:
    """Return *text* in lower case and in letters of normal width; the number of characters stays the same."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := normalize("NFKC", char).lower()) == 1 else char for char in text)


def _units(text: str, escaped: re.Pattern[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each character of *text*, *escaped* or not, in lower case, with its start and its end."""
    at = 0
    for found in escaped.finditer(text):
        yield from _plain(text, at, found.start())
        char = _unescaped(found)
        if char is None:
            yield from _plain(text, *found.span())
        else:
            yield _folded(char), *found.span()
        at = found.end()
    yield from _plain(text, at, len(text))


def _plain(text: str, start: int, end: int) -> Iterable[tuple[str, int, int]]:
    return zip(_folded(text[start:end]), range(start, end), range(start + 1, end + 1), strict=True)


def _unescaped(found: re.Match[str]) -> str | None:
    """Return the one character that an escape stands for, None where it stands for none."""
    from html import unescape  # noqa: PLC0415 half a megabyte of names, which only an answer with an error needs

    if found.re is RARELY_ESCAPED_CHARACTER:
        rare = found.groupdict()
        bases = {"hex": 16, "decimal": 10, "octal": 8}
        return rare["plain"] or next(chr(int(code, bases[name])) for name, code in rare.items() if code)
    unicode, byte, percent, entity, other = found.groups()
    if other is not None:
        return str(other)
    char = unescape(f"&{entity}") if entity else chr(int(unicode or byte, 16)) if not percent else ""
    if percent:
        char = unquote(f"%{percent}", "latin-1")
    return char if len(char) == 1 else None


NO_SECRETS = Secrets()
"""Masks nothing."""


def collect_words(texts: Iterable[str]) -> frozenset[str]:
    """Return the words of *texts*, in lower case."""
    return frozenset(word for text in texts for word in WORD.findall(text.lower()))


def mask_unknown_words(text: str, most: int, *, known: Collection[str] = (), sent: Collection[str] = ()) -> str:
    """Return *text* of a server with ``***`` in place of each word that may belong to a person.

    A server may repeat any value of a person, in any form and language, so no list of values could find it. Only the
    words stay in which servers describe errors.

    Parameters: *most*, the maximum number of characters to return; *known*, further words that stay: the fields of the
    API, in their spelling, and the status; *sent*, words in lower case that are masked because they were sent in a
    value.
    """
    shown: list[str] = []
    left = most
    for chunk in text[: 2 * most].split():
        word = chunk if _is_known(chunk, known, sent) else MASK
        if word == MASK and shown and shown[-1] == MASK:
            continue
        left -= len(word) + 1
        if left < 0:
            break
        shown.append(word)
    return " ".join(shown)


def _is_known(chunk: str, known: Collection[str], sent: Collection[str]) -> bool:
    if not (chunk.isascii() and chunk.isprintable()):
        return False
    for word in WORD.findall(LIST_INDEX.sub(" ", chunk)):
        lower = word.lower()
        if lower in sent or not (word in known or lower in SERVER_WORDS or word in SERVER_NUMBERS):
            return False
    return True
