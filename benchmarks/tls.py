"""What a typed create costs over TLS 1.3, next to raw aiohttp: over aiohttp, and over connections of the package's own.

All verify the server's certificate. Connections are kept, so that handshakes are not measured. The same calls without
TLS run in the same rounds, and tell what TLS adds.
"""

from __future__ import annotations

import ssl
import tempfile
from argparse import Namespace
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trustme
from harness import Point, Result, arguments, benchmark, compared, hammer, interleaved, ratios, result, serving
from peers import cdp, raw_aiohttp

IN_FLIGHT = 16
HTTPTOOLS = "typed over httptools"


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    authority, tls = trustme.CA(), ssl.create_default_context()
    tls.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    async with AsyncExitStack() as stack:
        certificate = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        secure = await stack.enter_async_context(serving(certificate=str(certificate)))
        clear = await stack.enter_async_context(serving())
        makers = {
            "typed": partial(cdp, tls=tls),
            "raw aiohttp": partial(raw_aiohttp, tls=tls),
            "raw again": partial(raw_aiohttp, tls=tls),
            HTTPTOOLS: partial(cdp, http="httptools", tls=tls),
        }
        calls = {name: await make(secure, IN_FLIGHT, stack) for name, make in makers.items()}
        calls |= {f"{name}, no TLS": await make(clear, IN_FLIGHT, stack) for name, make in makers.items()}
        batches = {name: hammer(call, IN_FLIGHT, 20) for name, call in calls.items()}
        cpu, _ = await interleaved(batches, 12 if options.quick else 72)
    what = f"CPU of a create over TLS 1.3, {IN_FLIGHT} in flight"
    results = compared("", what, cpu, "us")
    results.append(result("", f"{what}: {HTTPTOOLS} / raw aiohttp", ratios(cpu[HTTPTOOLS], cpu["raw aiohttp"]), "x"))
    results.append(result("", f"{what}: {HTTPTOOLS}", cpu[HTTPTOOLS], "us"))
    results += [
        result("", f"{what}: with / without TLS, {name}", ratios(cpu[name], cpu[f"{name}, no TLS"]), "x")
        for name in ("typed", HTTPTOOLS, "raw aiohttp")
    ]
    return results, []


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
