"""The stand-in for images: it answers for the requests that the bytes contain, and for no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from emulab.servers.echo.server import create

from . import bench
from .corpus import mixture, numbered
from .http_requests import GOOD, ended
from .oracle import read_answers
from .reading import damaged, requests_in

BLANK = b" \t"
TLS = b"\x16\x03"
"""Begins a handshake, whose end a server waits for."""


def run(random: Random, going: Callable[[], bool]) -> int:
    return bench.run(_run(random, going))


async def _run(random: Random, going: Callable[[], bool]) -> int:
    server, count = create(bench.silent()), 0
    port = await bench.configured(server, {})
    while going():
        data = ended(damaged(numbered(mixture(random), count % 10000), random), BLANK)
        count += 1
        if data is None or b"ebsocket" in data or data.startswith(TLS):
            continue
        received = await bench.exchange(port, data, random)
        found = requests_in(data, BLANK).messages
        got, trash = read_answers(received, [method for method, _, _ in found], True)
        assert not trash, f"no answer: {trash!r} to {data!r}"
        told = [json.loads(one.body or b"{}") for one in got if one.status == 200]
        assert len(told) <= len(found), f"{told} of {found} in {data!r}"
        for facts, (method, target, body) in zip(told, found, strict=False):
            if facts and not target.startswith((b"/status/", b"/delay/", b"/bytes/")):
                assert facts["method"].encode() == method, f"{facts} of {found} in {data!r}"
                assert facts.get("bodyBytes", 0) == len(body), f"{facts} of {found} in {data!r}"
                path = target.decode("utf-8", "replace")
                whole = not facts["path"].startswith("/")  # an absolute target is told as it came
                assert whole or facts["path"] == path, f"{facts} of {found} in {data!r}"
        answer = await bench.exchange(port, GOOD, random)
        assert b'"path": "/good"' in answer, f"{answer!r} to a good request after {data!r}"
    await server.close()
    return count
