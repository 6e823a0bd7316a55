"""The ingress from the client's side: a backend sees the requests that the bytes contain, and no other."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import bench
from .corpus import mixture, numbered
from .reading import damaged, requests_in

END = b"GET /end HTTP/1.1\r\nHost: end\r\nConnection: close\r\n\r\n"
GOOD = b"GET /good HTTP/1.1\r\nHost: good\r\nConnection: close\r\n\r\n"
TAILS = (b"", b"\r\n\r\n", b"a" * 40000 + b"\r\n\r\n")


def ended(data: bytes, blank: bytes = b" ", bare: bool = False) -> bytes | None:
    """The bytes and what brings a server to their end, which otherwise waits for more; None where nothing does."""
    for tail in TAILS:
        if not requests_in(data + tail + END, blank, bare).waits:
            return data + tail + END
    return None


def run(random: Random, going: Callable[[], bool]) -> int:
    return bench.run(_run(random, going))


async def _run(random: Random, going: Callable[[], bool]) -> int:
    backend, count = bench.Strict(), 0
    async with bench.proxied(backend) as port:
        while going():
            data = ended(damaged(numbered(mixture(random), count % 10000), random), bare=True)
            count += 1
            if data is None:
                continue
            await bench.exchange(port, data, random)
            found = requests_in(data, bare=True).messages
            seen = [(one.method, one.target, one.body) for one in backend.seen]
            assert not backend.malformed, f"{backend.malformed} after {data!r}"
            assert seen == found[: len(seen)], f"{seen} of {found} in {data!r}"
            backend.seen.clear()
            answer = await bench.exchange(port, GOOD, random)
            assert answer.endswith(b"\r\n\r\n/good"), f"{answer!r} to a good request after {data!r}"
            backend.seen.clear()
    return count
