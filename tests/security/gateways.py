"""A gateway that repeats what it refuses, head and body, in whatever form."""

from __future__ import annotations

import asyncio
import base64
import html
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

import orjson

from tests.servers import Reply, Server, read_body, read_head

FORMS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "small": str.lower,
    "swapped": str.swapcase,
    "percent": lambda text: quote(text, safe=""),
    "each percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent twice": lambda text: quote("".join(f"%{byte:02X}" for byte in text.encode()), safe=""),
    "JSON": lambda text: orjson.dumps(text).decode(),
    "each JSON": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "HTML": html.escape,
    "each HTML": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "each HTML hex": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 moved": lambda text: base64.urlsafe_b64encode(f"?{text}".encode()).decode(),
    "quoted printable": lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    "percent u": lambda text: "".join(f"%u{ord(char):04x}" for char in text),
    "HTML without ends": lambda text: "".join(f"&#{ord(char)}" for char in text),
    "HTML hex with zeros": lambda text: "".join(f"&#x{ord(char):06x}" for char in text),
    "octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "braces": lambda text: "".join(f"\\u{{{ord(char):x}}}" for char in text),
    "16 bits": lambda text: text.encode("utf-16-le").decode("latin-1"),
    "base64 of 16 bits": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "hex": lambda text: text.encode().hex(),
    "lines": lambda text: "\n".join(text[at : at + 11] for at in range(0, len(text), 11)),
    "half": lambda text: text[: -(-len(text) // 2)],
    "Japanese": lambda text: f"氏名{text}は無効です",
    "Arabic": lambda text: f"\u202eقيمة{text}غير",
    "wide": lambda text: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text),
    "digits alone": lambda text: "".join(filter(str.isalnum, text)),
}
"""The forms in which a server may write what it was sent."""


class Gateway(Server):
    """Answers each request with the next of its *statuses*, and says in its *form* what it was sent."""

    statuses: ClassVar[Sequence[int]] = (400,)
    form: ClassVar[str] = "as it is"
    page: ClassVar[bool] = False
    """Whether the answer is the page of a gateway, and not the API's."""
    _answers = 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        write = FORMS[self.form]
        while True:
            asked = await read_head(reader, connection)
            body = await read_body(reader, asked)
            whole = write(f"{asked.headers.get('authorization')} {asked.target} {body.decode()}")
            said = {"message": f"Cannot take {whole}.", "developerMessage": whole, "moreInfoUrl": f"https://{whole}"}
            answer = f"<html>{whole}</html>".encode() if self.page else orjson.dumps(said)
            status = self.statuses[self._answers % len(self.statuses)]
            self._answers += 1
            writer.writelines(Reply(status, answer).written)
            await writer.drain()
