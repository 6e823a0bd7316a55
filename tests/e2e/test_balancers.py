"""The L4 balancers: who may use them, whom they choose, and that they pass on every byte."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.model.families import IPV6, Families

from .balancer_differences import ENGINES, balanced_by, expected
from .families import At, at_of, lab_in, modes_in_worlds, worlds_of
from .tools import (
    CLIENT,
    TOPOLOGIES,
    Capture,
    capture,
    connect,
    datagram,
    eventually,
    exchange,
    name,
    node_port,
    output,
    pods,
    program,
    refused,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRIVATE = "10.0.0.100"

MIRROR = f"""
apiVersion: v1
kind: Pod
metadata: {{name: mirror, labels: {{app: mirror}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: mirror
      command: {program("mirror.py", "9100")}
      ports: [{{containerPort: 9100}}]
      readinessProbe: {{tcpSocket: {{port: 9100}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: mirror}}
spec:
  type: LoadBalancer
  selector: {{app: mirror}}
  ports: [{{port: 9100}}]
"""


@pytest.fixture(scope="module", params=modes_in_worlds("balancers", ENGINES))
def world(request: pytest.FixtureRequest) -> tuple[str, Families]:
    engine, families = request.param
    return engine, families


@pytest.fixture(scope="module")
def engine(world: tuple[str, Families]) -> str:
    return world[0]


@pytest.fixture(scope="module")
def at(world: tuple[str, Families]) -> At:
    return At(world[1])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def two(engine: str, at: At) -> AsyncIterator[Lab]:
    """A lab of topologies/public-private.yaml."""
    text = (TOPOLOGIES / "public-private.yaml").read_text()
    async with lab_in(at.families, balanced_by(engine), text) as lab:
        yield lab


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def game(engine: str, at: At) -> AsyncIterator[Lab]:
    """A lab of topologies/loadbalancer-service.yaml."""
    text = (TOPOLOGIES / "loadbalancer-service.yaml").read_text()
    async with lab_in(at.families, balanced_by(engine), text) as lab:
        yield lab


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("balancers"))
async def hello(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """A lab of topologies/nodeport.yaml."""
    async with lab_in(request.param, (TOPOLOGIES / "nodeport.yaml").read_text()) as lab:
        yield lab


async def test_dns_leads_to_the_right_balancer(two: Lab, at: At) -> None:
    """Public hosts have the public address, the annotated one the private address, for everyone."""
    for place in ("client", "office"):
        for host, address in (("app1", at.vip), ("app2", at.vip), ("app3", at(PRIVATE))):
            found = await two.resolve_all(f"{host}.qas.abc.com", place)
            assert address in found and len(found) == len(at.families)


async def test_everyone_may_use_the_public_balancer(two: Lab, at: At) -> None:
    for place in ("client", "office"):
        for app in ("app1", "app2"):
            answer = await two.request(f"http://{app}.qas.abc.com/x", source=place)
            assert answer.status == 200 and answer.json()["service"] == app
            assert answer.json()["namespace"] == "qas"


async def test_only_the_vpc_may_use_the_private_balancer(two: Lab, at: At) -> None:
    """The office is answered through it; the client is refused at once, by a reset, and no pod hears of it."""
    async with capture(two, "private-lb", "tcp port 80") as seen:
        answer = await two.request("http://app3.qas.abc.com/", source="office")
        assert answer.status == 200 and answer.json()["service"] == "app3"
        await seen.until(rf"> {at.pattern(PRIVATE)}\.80: Flags \[P")
    # Of both families, a client with a global address goes by IPv4 before a unique local one (RFC 6724, rule 5).
    private = await two.resolve("app3.qas.abc.com")
    async with capture(two, "client", f"host {private}") as seen:
        with pytest.raises(OSError) as caught:
            await two.request("http://app3.qas.abc.com/", source="client", timeout=20)
        assert not isinstance(caught.value, TimeoutError)
        await seen.until(rf"{re.escape(private)}\.80 > (?:{at.client}|{CLIENT})\.\d+: Flags \[R")
    assert not seen.matching(rf"{re.escape(private)}\.80 > .*HTTP/1\.1")


async def test_a_balancer_leaves_out_a_node_it_cannot_reach(two: Lab, at: At) -> None:
    """With node2 cut off from the balancer requests go on through node1; once it is back both are used."""
    port = await node_port(two, "ingress-nginx-controller", "http", "ingress-nginx")
    chain = "type filter hook prerouting priority -400"
    ip = at.family.nft
    script = f"table {ip} cut {{ chain in {{ {chain}; {ip} saddr {at.public_lb} tcp dport {port} drop; }}; }}"

    async def healthy() -> dict[str, bool]:
        frontends = (await two.server_status("public-lb"))["frontends"]
        return {n: t["healthy"] for n, t in frontends[f"tcp/{at.vip}/80"]["targets"].items()}

    async def back() -> bool:
        return await healthy() == {"node1": True, "node2": True}

    await eventually(back)
    done = await two.exec("node2", "nft", "-f", "-", stdin=script.encode())
    assert done.status == 0, done.stderr
    try:

        async def cut() -> bool:
            return await healthy() == {"node1": True, "node2": False}

        await eventually(cut)
        async with capture(two, "node1", f"src {at.public_lb} and tcp dst port {port}", "-A") as seen:
            for _ in range(6):
                answer = await two.request("http://app1.qas.abc.com/with-one-node", timeout=20)
                assert answer.status == 200
            await seen.until("GET /with-one-node", 6)
    finally:
        await output(two, "node2", "nft", "delete", "table", ip, "cut")
    await eventually(back)


async def test_without_any_ingress_pod_the_balancer_refuses_fast_and_recovers(two: Lab, at: At) -> None:
    """Scaled to none the path is closed within the health checks' time; scaled up again it is open."""
    await two.scale("ingress-nginx-controller", 0, "ingress-nginx")

    async def closed() -> bool:
        try:
            await two.request("http://app1.qas.abc.com/", timeout=20)
        except OSError:
            return True
        return False

    await eventually(closed, pause=0.1)
    # As soon as with nobody to ask: a try takes five seconds. The machine may have been away once.
    assert min([await refusal_or_reset(two, at.vip) for _ in range(3)]) < 4
    await two.scale("ingress-nginx-controller", 2, "ingress-nginx")
    await two.ready()

    async def open_again() -> bool:
        return not await closed()

    await eventually(open_again, pause=0.1)
    assert len(await pods(two, "ingress-nginx")) == 2
    answers = [await two.request("http://app1.qas.abc.com/") for _ in range(10)]
    assert {a.status for a in answers} == {200}


async def refusal_or_reset(lab: Lab, vip: str) -> float:
    """Seconds until a connection to the VIP came to nothing."""
    begun = asyncio.get_running_loop().time()
    try:
        reader, writer = await connect(lab, "client", vip, 80)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(20):
            assert await reader.read(100) == b""
        writer.close()
    except ConnectionError:
        pass
    return asyncio.get_running_loop().time() - begun


async def test_a_balancers_service_is_reached_over_tcp_and_udp(game: Lab, engine: str, at: At) -> None:
    """topologies/loadbalancer-service.yaml: both names, both protocols, every pod."""
    assert await game.resolve("game.default.lb.test") == await game.resolve("game.example.com")
    names = {name(p) for p in await pods(game, app="game")}
    # One of three pods is missed once in 10^10 times.
    seen = {(await game.request("http://game.default.lb.test:8080/hostname")).text() for _ in range(60)}
    assert seen == names and len(names) == 3
    address = await game.resolve("game.example.com")
    if not expected(engine, "datagrams", True):
        with pytest.raises(ConnectionRefusedError):
            await datagram(game, "client", address, 7777, b"?")
    most = 1400 - 20 * (
        at.family is IPV6
    )  # headers of IPv6 are larger, and what is too large is lost the first time
    for size in (1, 1200, most) if expected(engine, "datagrams", True) else ():
        payload = os.urandom(size)
        assert await datagram(game, "client", address, 7777, payload) == payload
    await refused(game, "client", address, 8081)


async def test_a_new_balancer_forwards_once_it_is_ready(game: Lab, at: At) -> None:
    """When `apply` of a LoadBalancer Service and its pod returns Ready, the first connection through it works."""
    await game.apply(MIRROR)
    address = await game.resolve("mirror.default.lb.test")
    assert await exchange(await connect(game, "client", address, 9100), b"first") == b"first"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mirror(game: Lab) -> str:
    """The address of a balancer before a server that sends back what it gets."""
    await game.apply(MIRROR)
    address = await game.resolve("mirror.default.lb.test")

    async def works() -> bool:
        try:
            return await exchange(await connect(game, "client", address, 9100), b"ping") == b"ping"
        except OSError:
            return False

    await eventually(works, pause=0.1)
    return address


async def test_twenty_megabytes_both_ways_are_the_same_bytes(game: Lab, mirror: str, at: At) -> None:
    """Client → balancer → node port → pod and back, both directions at once, ended by a half-close."""
    data = os.urandom(20_000_000)
    received = await exchange(await connect(game, "client", mirror, 9100), data)
    assert len(received) == len(data) and received == data


async def test_a_half_close_is_passed_on(game: Lab, mirror: str, at: At) -> None:
    """The client's end of stream reaches the pod while the way back is open: the sum comes after it."""
    async with capture(game, "pod/mirror", "tcp port 9100") as seen:
        reader, writer = await connect(game, "client", mirror, 9100)
        writer.write(b"SUM hello")
        await writer.drain()
        end = rf"{await sender(seen)} > \S+\.9100: Flags \[F"
        assert not seen.matching(end), "the stream ended before its time"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.write_eof()
        async with asyncio.timeout(20):
            assert await reader.read() == b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        await seen.until(end)
        writer.close()


async def sender(seen: Capture) -> str:
    """Who sends data to the mirror, as a pattern: probes of its port send none."""
    [line] = (await seen.until(r"> \S+\.9100: Flags \[P"))[:1]
    match = re.search(r"IP6? (\S+) > ", line)
    assert match
    return re.escape(match[1])


async def test_a_reset_is_passed_on(game: Lab, mirror: str, at: At) -> None:
    """A client that resets ends the pod's connection with a reset too."""
    async with capture(game, "pod/mirror", f"tcp port 9100 and {at.flags} & (tcp-push|tcp-rst) != 0") as seen:
        sock = await game.socket("client")
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (mirror, 9100))
        await loop.sock_sendall(sock, b"data")
        assert await loop.sock_recv(sock, 100) == b"data"
        peer = await sender(seen)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await seen.until(rf"{at.ip} {peer} > \S+: Flags \[R")


async def test_a_node_port_answers_on_both_nodes(hello: Lab) -> None:
    """topologies/nodeport.yaml: whichever node is asked, the one pod answers, and sees a node's address."""
    [pod] = await pods(hello, app="hello")
    at = at_of(hello)
    for node, address in (("node1", at.node1), ("node2", at.node2)):
        async with capture(hello, node, "udp port 8472", "-T", "vxlan") as seen:
            answer = await hello.request(f"http://{at.host(address)}:30080/")
            assert answer.status == 200 and answer.json()["pod"] == name(pod)
            source, _, port = answer.json()["client"].rpartition(":")
            source = source.strip("[]")
            local = node == pod["spec"]["nodeName"]
            own = rf"{at.ip} {re.escape(source)}\.{port} > {re.escape(pod['status']['podIP'])}\.8080: "
            if not local:
                await seen.until(own)
        assert bool(seen.matching(own)) != local, "the overlay is for the other node's pods"
        overlay = at(f"10.244.{node[-1]}.0")
        assert source in ({address, overlay} if local else {overlay})
