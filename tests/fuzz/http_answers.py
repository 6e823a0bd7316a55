"""The ingress from the backend's side: a client gets the answer that its bytes contain, or none of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import bench
from .corpus import answer
from .oracle import RequestOracle, Seen, read_answers
from .reading import answer_in, damaged

LAST = b"GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"


class Hostile(bench.Strict):
    """Answers /hostile with the bytes it is given, everything else with what it was asked."""

    data, close = b"", True

    def answer(self, seen: Seen, connection: RequestOracle) -> None:
        if connection.tainted:
            self.malformed.append(f"{seen.target!r} came over a connection that had sent too much")
        if seen.target != b"/hostile":
            return super().answer(seen, connection)
        connection.tainted = True
        connection.transport.write(self.data)
        if self.close:
            connection.transport.close()
        return None


def run(random: Random, going: Callable[[], bool]) -> int:
    return bench.run(_run(random, going))


async def _run(random: Random, going: Callable[[], bool]) -> int:
    backend, count = Hostile(), 0
    async with bench.proxied(backend) as port:
        while going():
            script = answer(random)
            backend.data = damaged(script.data, random)
            to_head = script.method == b"HEAD"
            found = answer_in(backend.data, to_head, False)
            # A connection stays only where it is sure to be dropped, or the client would wait for the rest.
            backend.close = not found.rest or found.waits
            if backend.close:
                found = answer_in(backend.data, to_head, True)
            count += 1
            head = script.method + b" /hostile HTTP/1.1\r\nHost: h\r\n\r\n"
            received = await bench.exchange(port, head + LAST, random)
            shown = f"{received!r} of {backend.data!r}, close={backend.close}"
            got, trash = read_answers(received, [script.method, b"GET"], True)
            assert not trash, f"no answer: {trash!r} in {shown}"
            assert not backend.malformed, f"{backend.malformed} after {shown}"
            if not got:
                assert not found.messages, f"nothing came: {shown}"
                continue
            first, *others = got
            if first.whole and first.status != 502:
                right = [(first.status, first.body)] == [(int(m[0]), m[2]) for m in found.messages]
                assert right, f"{first} isn't {found.messages}: {shown}"
            assert not others or others[0].body == b"/last", f"{others} is another's: {shown}"
            assert others or not first.whole, f"no answer to the next request: {shown}"
    return count
