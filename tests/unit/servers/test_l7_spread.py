"""How connections to an address of several endpoints are opened and used, with real ones over loopback."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import test_ingress_harness as harness
from patience import LONG, until
from test_ingress_harness import Backend, World

from emulab.servers.base import Informed
from emulab.servers.l7.config import Options, UpstreamTLS
from emulab.servers.l7.engine.snapshot import KeptServer
from emulab.servers.l7.engine.ways import UpstreamWay
from emulab.servers.l7.shell.opening import open_upstream
from emulab.servers.l7.shell.spread import CREDIT, CREDIT_A_SECOND, PER_ENDPOINT, Spread
from emulab.servers.l7.shell.upstream import Pool, UpstreamConnection
from emulab.servers.selfsigned import make_context, self_signed
from emulab.servers.streams.epollset import EpollSet


def spread(endpoints: int, most: int = 320) -> Spread:
    one = Spread()
    one.configure(endpoints, most)
    return one


def test_so_many_for_each_endpoint_and_no_more_than_are_kept() -> None:
    assert (spread(2).size, spread(10).size, spread(10, 100).size) == (2 * PER_ENDPOINT, 320, 100)


def test_beyond_that_there_is_credit() -> None:
    one = spread(2)
    one.connections = one.size
    assert sum(one.replaces(0.0) for _ in range(10_000)) == int(CREDIT)
    assert sum(one.replaces(2.0) for _ in range(10_000)) == int(2 * CREDIT_A_SECOND)
    one.configure(2, 320)
    assert not one.replaces(2.0), "nothing has changed"
    one.configure(1, 320)
    assert one.replaces(2.0), "who has come is to get its share"


def test_as_even_as_draws_are() -> None:
    """A kube-proxy draws an endpoint for each connection; 1,000 requests one after the other."""
    draw, shares = Random(42), Counter[int]()
    one, kept = spread(10), list[int]()
    for _ in range(1000):
        if one.grows:
            one.connections += 1
            endpoint = draw.randrange(10)
        else:
            endpoint = kept.pop(0)
            endpoint = draw.randrange(10) if one.replaces(0.0) else endpoint
        shares[endpoint] += 1
        kept.append(endpoint)
    assert len(kept) == one.size
    assert chi_square(shares, 10) < 27.9  # of 9 degrees of freedom: one in a thousand is beyond


def chi_square(shares: Counter[int], number: int) -> float:
    expected = shares.total() / number
    return sum((shares[one] - expected) ** 2 / expected for one in range(number))


world = harness.world


async def served(world: World, **upstream: Any) -> Backend:
    """One backend behind the proxy."""
    backend, address = await world.backend()
    rule = {"path": "/", "path_type": "Prefix", "upstream": "up", "origin": ""}
    await world.configure(rules=[rule], upstreams={"up": {"servers": [address], **upstream}})
    return backend


async def test_more_connections_than_clients_are_kept(world: World) -> None:
    backend = await served(world, endpoints=3)
    for _ in range(3 * PER_ENDPOINT + 20):
        assert (await world.get()).status == 200
    assert backend.connections == 3 * PER_ENDPOINT + 20  # one each, as there is credit
    (sizes,) = world.server.status()["upstreams"].values()
    assert sizes == {"idle": 3 * PER_ENDPOINT, "active": 0}


async def test_more_clients_than_there_are_to_be_connections_keep_theirs(world: World) -> None:
    """Each client has a connection of its own meanwhile; that they are many is no reason to open new ones."""
    backend = await served(world, endpoints=2)
    many = 3 * PER_ENDPOINT
    streams = [await world.connect() for _ in range(many)]

    async def ask(times: int) -> None:
        for _ in range(times):
            for _, writer in streams:
                writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            answers = [await harness.read_message(reader) for reader, _ in streams]
            assert {answer.status for answer in answers} == {200}

    await ask(2 + int(CREDIT) // many)  # there is no credit any more
    before = backend.connections
    await ask(5)
    assert backend.connections - before < many


async def test_of_one_endpoint_one_connection_is_kept(world: World) -> None:
    backend = await served(world, endpoints=1)
    for _ in range(20):
        assert (await world.get()).status == 200
    assert backend.connections == 1


async def test_a_connection_serves_so_many_requests(world: World) -> None:
    backend = await served(world, limits={"requests_per_connection": 3})
    for _ in range(7):
        assert (await world.get()).status == 200
    assert backend.connections == 3
    await world.configure(
        upstreams={"up": {"servers": [*world.server.status()["upstreams"]]}},
        options={"upstream_keepalive_requests": 2},
    )
    for _ in range(4):
        assert (await world.get()).status == 200
    assert backend.connections == 5


async def test_no_more_connections_than_a_rule_allows(world: World) -> None:
    """Two servers, and two connections to both: an idle one is closed for one that is needed."""
    backends = [await world.backend() for _ in range(3)]
    addresses = [address for _, address in backends]
    rule = {"path": "/", "path_type": "Prefix", "upstream": "up", "origin": ""}
    await world.configure(
        rules=[rule], upstreams={"up": {"servers": addresses, "limits": {"connections": 2}}}
    )
    for _ in range(9):
        assert (await world.get()).status == 200
        there = sum(sum(one.values()) for one in world.server.status()["upstreams"].values())
        assert there <= 2
    assert [len(one.requests) for one, _ in backends] == [3, 3, 3]


async def test_requests_wait_for_a_connection_and_the_next_are_refused(world: World) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(
        backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int
    ) -> None:
        while True:
            backend.requests.append(await harness.read_message(reader))
            begun.set()
            await go_on.wait()
            writer.write(harness.http(b"done"))

    backend, address = await world.backend(slow)
    rule = {"path": "/", "path_type": "Prefix", "upstream": "up", "origin": ""}
    limits = {"connections": 1, "pending": 2}
    await world.configure(rules=[rule], upstreams={"up": {"servers": [address], "limits": limits}})
    asked = [asyncio.ensure_future(world.get())]
    await begun.wait()
    asked += [asyncio.ensure_future(world.get()) for _ in range(3)]
    refused = await next(asyncio.as_completed(asked))
    assert refused.status == 503 and len(backend.requests) == 1
    go_on.set()
    statuses = sorted(answer.status for answer in await asyncio.gather(*asked))
    assert statuses == [200, 200, 200, 503] and backend.connections == 1


async def test_who_ends_soon_keeps_no_connection_and_fails_its_health(world: World) -> None:
    key, sock = harness.listener()
    _backend, address = await world.backend()
    await world.serve(address)
    port = sock.getsockname()[1]
    await world.server.configure(
        harness.routed(
            [{"path": "/", "path_type": "Prefix", "upstream": "up"}],
            {},
            listen=[*world.server.status()["listen"], key],
            pages={key: {"/healthz": "ok"}},
            upstreams={"up": {"servers": [address]}},
        ),
        {key: sock},
    )

    async def health() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = await harness.read_message(reader)
        writer.close()
        return answer.status

    assert await health() == 200
    assert isinstance(world.server, Informed)
    world.server.tell({"ending": True})
    assert await health() == 500
    answer = await world.get()
    assert (answer.status, answer.get("connection")) == (200, "close")


class NeverOpened:
    """Who asks for connections, and hears why there is none."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def connected(self, upstream: UpstreamConnection) -> None:
        raise AssertionError("nobody is there")

    def connect_failed(self, why: str, timed_out: bool) -> None:
        self.heard.append(why)

    def upstream_received(self, data: bytes) -> None: ...
    def upstream_ended(self, reset: bool) -> None: ...
    def upstream_filled(self, full: bool) -> None: ...


async def test_what_never_opens_is_not_counted() -> None:
    """Nor is it where a task is cancelled before it begins, as a request's is whose client leaves in the same turn; and
    a connection that is made and refused for its certificate isn't counted off twice."""
    streams, asker = EpollSet(), NeverOpened()
    certificate, key = self_signed("Servers", "here.test", ["here.test"])
    there = make_context(certificate, key)
    async with await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=there
    ) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        way = UpstreamWay(UpstreamTLS(verify=True, authorities=certificate, name="elsewhere.test"))
        pool = Pool(lambda: streams, open_upstream)
        kept = {address: KeptServer(endpoints=2)}
        pool.configure(Options(), kept, pool.resolver)
        counted = pool._spreads[address]
        pool.open(address, LONG, asker).cancel()
        assert counted.connections == 1
        await until(lambda: counted.connections == 0)
        task = pool.open((address, way), LONG, asker)
        assert counted.connections == 1
        await task
        await until(lambda: counted.connections == 0 and not pool.connections)
        for _ in range(3):
            await asyncio.sleep(0)
        assert counted.connections == 0 and len(asker.heard) == 1
    pool.close()
    streams.close()
