"""`Lab.trace` and `emulab trace`: each kind of path, hop by hop, with its evidence."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path as FilePath

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.errors import UserError
from emulab.model.families import IPV4, IPV6
from emulab.observe.path import Path

from .families import At, at_of, lab_in, worlds_of
from .test_ingress import certificate, secret
from .tools import (
    PROGRAMS,
    PYTHON,
    all_healthy,
    cluster_ip,
    eventually,
    is_ready,
    name,
    output,
    pods,
)
from .tools import emulab as cli
from .tracing import (
    INCOMING,
    OUTGOING,
    WORLD,
    assert_shape,
    assert_translated,
    details,
    dissect,
    events,
    host,
    traced,
    way,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "http://shop.example.com/products/42"
DNAT = ("kube-proxy", "dnat ip")
MASQUERADE = ("kube-proxy nat-postrouting", "masquerade")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("trace"))
async def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    pair = certificate(tmp_path_factory.mktemp("tls"), "secure.trace.test")
    async with lab_in(request.param, WORLD, secret("secure-tls", pair)) as made:
        await all_healthy(made)
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("trace"))
async def routed(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    cluster = (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: flat}\nspec: {network: {mode: routed}}"
    )
    async with lab_in(request.param, cluster, WORLD) as made:
        yield made


@pytest.fixture
def at(request: pytest.FixtureRequest) -> At:
    """Where things are in the lab of a test, be it the routed one."""
    return at_of(request.getfixturevalue("routed" if "routed" in request.fixturenames else "lab"))


@pytest_asyncio.fixture(loop_scope="module")
async def server(lab: Lab) -> AsyncIterator[None]:
    """A real web server at `outside`."""
    work = asyncio.ensure_future(lab.exec("outside", PYTHON, str(PROGRAMS / "gate.py"), "8080", "/"))

    async def listening() -> bool:
        return ":8080" in await output(lab, "outside", "ss", "-ltn")

    await eventually(listening)
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def ip_of(lab: Lab, pod: str) -> str:
    [found] = await lab.get("Pod", pod, "default")
    return str(found["status"]["podIP"])


def assert_answered(path: Path, status: int | None = 200) -> None:
    """An answer came, from where the request went, over the last place's interface and back to the sender's."""
    assert path.status == status and path.failure is None and path.notes == [], (path.status, path.failure)
    assert path.places[0] == path.source
    last = [h for h in path.hops if h.direction == "response" and h.connection == 1][-1]
    assert (last.place, last.event) == (path.source, "deliver")
    assert path.answered is not None if status else path.answered is None


def assert_vxlan(at: At, path: Path, connection: int, one: str, other: str) -> None:
    """The connection goes through VXLAN 1 between two nodes, encapsulated and decapsulated once in each direction."""
    for direction, ends in (("request", (one, other)), ("response", (other, one))):
        addresses = tuple({"node1": at.node1, "node2": at.node2}[node] for node in ends)
        wrapped = path.all(connection=connection, direction=direction, event="encapsulate")
        assert (
            wrapped and {h.place for h in wrapped} == {ends[0]} and {h.interface for h in wrapped} == {"eth0"}
        )
        for hop in wrapped:
            e = hop.encapsulation
            assert e is not None and (e.type, e.vni) == ("vxlan", 1)
            assert (e.outer_source, e.outer_destination) == addresses
        unwrapped = path.all(connection=connection, direction=direction, place=ends[1], interface=at.vxlan)
        event = "deliver" if direction == "response" and path.source == one else "decapsulate"
        assert [h.event for h in unwrapped] == [event] * len(wrapped)
        assert all(h.encapsulation is None for h in unwrapped)


def assert_no_vxlan(path: Path, connection: int) -> None:
    assert all(h.encapsulation is None for h in path.all(connection=connection))


def places_of(path: Path, connection: int, direction: str, event: str) -> list[str]:
    """The places of a connection's way in one direction: those of the first flight with such an event."""
    flight = path.first(connection=connection, direction=direction, event=event).flight
    return list(
        dict.fromkeys(h.place for h in path.hops if h.flight == flight and h.event in OUTGOING | INCOMING)
    )


# Through the balancer and the ingress


async def test_the_whole_path_of_the_shop(shop: Lab) -> None:
    """client → router → public-lb → node → ingress → Service → product, joined by what the proxies say."""
    at = At((IPV4,))
    path = await traced(shop, URL)
    assert_answered(path)
    [ingress] = await pods(shop, "ingress-nginx")
    controller = f"ingress-nginx.{name(ingress)}"
    products = {f"default.{name(p)}": p for p in await pods(shop, app="product")}
    assert list(path.places[:3]) == ["client", "router", "public-lb"]
    assert path.places[3] in ("node1", "node2") and controller in path.places
    product = products[path.places[-1]]

    # Name resolution comes first, and says what the client got.
    assert path.hops[0].detail == f"DNS {at.family.record}? shop.example.com" and path.hops[0].connection == 0
    assert f"DNS {at.family.record} shop.example.com: {at.vip} (TTL 30)" in details(
        path, place="client", event="deliver"
    )

    # The client's connection ends at the balancer.
    first = path.first(connection=1, place="client", event="send")
    assert (
        host(first.source) == at.client
        and first.destination == f"{at.host(at.vip)}:80"
        and first.detail == "TCP SYN"
    )
    assert way(path, connection=1, place="client", event="send") == [
        ("client", "eth0", "send"),
        ("router", "internet", "receive"),
        ("router", "vpc", "forward"),
        ("public-lb", "eth0", "deliver"),
    ]
    accept = path.first(event="proxy-accept", place="public-lb")
    assert (accept.connection, accept.source, accept.destination) == (
        1,
        first.source,
        f"{at.host(at.vip)}:80",
    )

    # It starts another, with the reason for its pick.
    connect = path.first(event="proxy-connect", place="public-lb")
    assert connect.connection == 2 and host(connect.source) == at.public_lb
    picked = re.fullmatch(
        r"picked (node[12]) \(\w+, 2 of 2 targets healthy, PROXY protocol v2\)", connect.detail
    )
    assert picked and picked[1] == path.places[3]
    assert connect.object.startswith(
        "Service ingress-nginx/ingress-nginx-controller port 80 (http) (node port "
    )
    assert accept.index < connect.index

    # Which the node translates: a node port of the controller.
    dnat = path.first(event="dnat", connection=2)
    assert dnat.place == picked[1]
    assert dnat.object.endswith(f" → pod ingress-nginx/{name(ingress)}")
    snat = path.first(event="snat", connection=2)
    assert snat.place == dnat.place and snat.object == f"public-lb → node {dnat.place}"
    host_ip, overlay = {"node1": (at.node1, at("10.244.1.0")), "node2": (at.node2, at("10.244.2.0"))}[
        dnat.place
    ]
    pod = ingress["status"]["podIP"]
    own = host_ip if ingress["spec"]["nodeName"] == dnat.place else overlay
    assert_translated(dnat, f"{at.public_lb} → {connect.destination}", f"{own} → {at.host(pod)}:80", *DNAT)
    assert_translated(
        snat, f"{at.public_lb} → {connect.destination}", f"{own} → {at.host(pod)}:80", *MASQUERADE
    )

    # The ingress names its rule, and connects through the ClusterIP.
    ends = path.first(event="proxy-accept", place=controller)
    rule = path.first(event="proxy-connect", place=controller)
    assert (ends.connection, rule.connection) == (2, 3) and ends.index < rule.index
    assert rule.rule == "Ingress default/shop-ingress: shop.example.com /products Prefix"
    assert rule.destination == f"{await cluster_ip(shop, 'product-service')}:80"
    assert rule.object == "Service default/product-service port 80 (http)"
    chosen = path.first(event="dnat", connection=3)
    assert chosen.place == ingress["spec"]["nodeName"]
    assert chosen.object == f"Service default/product-service port 80 (http) → pod default/{name(product)}"
    assert_translated(
        chosen, f"{pod} → {rule.destination}", f"{pod} → {at.host(product['status']['podIP'])}:8080", *DNAT
    )
    assert events(path, event="snat", connection=3) == []  # a pod keeps its address to a Service

    # The answer comes back the way of each connection, the last one first.
    answers = [h for h in path.hops if "HTTP 200 OK" in h.detail and h.event == "send"]
    assert [(h.place, h.connection) for h in answers] == [
        (f"default.{name(product)}", 3),
        (controller, 2),
        ("public-lb", 1),
    ]
    back = [h for h in path.hops if "translated back by conntrack" in h.detail]
    assert {h.place for h in back} == {dnat.place, chosen.place} and {h.direction for h in back} == {
        "response"
    }
    assert set(path.totals["servers_us"]) == {"public-lb", controller}
    assert set(path.totals["container_us"]) == {path.places[-1]}


async def scaled(shop: Lab, count: int) -> None:
    await shop.scale("product", count)

    async def settled() -> bool:
        found = await pods(shop, app="product")
        return len(found) == count and all(map(is_ready, found))

    await eventually(settled)


@pytest_asyncio.fixture(loop_scope="module")
async def one_pod(shop: Lab) -> AsyncIterator[Lab]:
    """To several, an ingress opens more connections than are needed, so that requests spread over them."""
    await scaled(shop, 1)
    yield shop
    await scaled(shop, 3)


async def test_a_second_request_uses_the_open_connection_again(one_pod: Lab) -> None:
    """The ingress keeps its connections: no handshake, no decision, but conntrack still knows the translation."""
    shop = one_pod
    before = await traced(shop, URL)
    path = await traced(shop, URL)
    assert_answered(path)
    connect = path.all(event="proxy-connect")[-1]
    kept = "upstream default/product-service/80, over a connection kept open, request id [0-9a-f]{32}"
    assert re.fullmatch(kept, connect.detail)
    assert connect.rule == "Ingress default/shop-ingress: shop.example.com /products Prefix"
    assert connect.source == before.all(event="proxy-connect")[-1].source
    said = details(path, connection=3)
    assert "TCP SYN" not in said and "GET /products/42" in said and "HTTP 200 OK" in said
    dnat = path.first(event="dnat", connection=3)
    assert dnat.rule == "" and dnat.conntrack == before.first(event="dnat", connection=3).conntrack
    assert dnat.object.startswith("Service default/product-service port 80 (http) → pod default/product-")
    assert path.connections[-1].title.endswith("(an open connection, used again)")
    # The resolver has the name by now: its answer is its own, and nobody asks the authoritative server.
    answer = path.first(event="dns-answer")
    assert answer.place == "resolver" and answer.detail.endswith(", from the cache")
    assert path.all(place="dns") == []


async def test_https_shows_the_handshake(lab: Lab, at: At) -> None:
    """Version, server name and certificate: what the client saw, and what the ingress says."""
    path = await traced(lab, "https://secure.trace.test/")
    assert_answered(path)
    assert path.tls is not None and path.tls["version"] == "TLS 1.3"
    assert path.tls["server_name"] == "secure.trace.test" and path.tls["names"] == ["secure.trace.test"]
    assert path.tls["subject"] == path.tls["issuer"] == "CN=secure.trace.test"
    assert path.tls["not_before"] < path.tls["not_after"] and path.tls["cipher"].startswith("TLS_")
    assert path.to_json()["request"]["tls"] == path.tls
    hello = path.first(detail="TLS ClientHello, SNI secure.trace.test", place="client")
    assert (hello.event, hello.destination) == ("send", f"{at.host(at.vip)}:443")
    assert [h.place for h in path.all(detail="TLS ServerHello, TLS 1.3", event="send")] == [
        path.places[path.places.index("public-lb") + 2],
        "public-lb",
    ]
    [controller] = [f"ingress-nginx.{name(p)}" for p in await pods(lab, "ingress-nginx")]
    accept = path.first(event="proxy-accept", place=controller)
    assert accept.detail == "accepted, TLS 1.3, SNI secure.trace.test, certificate for secure.trace.test"
    rule = path.first(event="proxy-connect", place=controller)
    assert rule.rule == "Ingress default/front: secure.trace.test / Prefix"
    assert path.places[-1] == "default.one"


async def test_plain_http_has_no_tls(lab: Lab) -> None:
    path = await traced(lab, "http://plain.trace.test/two/x", headers={"X-Marker": "trace"}, method="POST")
    assert_answered(path)
    assert path.tls is None and path.places[-1] == "default.two"
    assert "POST /two/x" in details(path, place="default.two", event="deliver")


# Node ports and balancers


async def test_a_node_port_of_the_endpoints_own_node(lab: Lab, at: At) -> None:
    path = await traced(lab, f"http://{at.host(at.node1)}:30080/")
    assert_answered(path)
    assert list(path.places) == ["client", "router", "node1", "default.one"]
    [veth] = {h.interface for h in path.all(place="node1")} - {"eth0"}
    assert way(path, event="dnat") == [
        ("client", "eth0", "send"),
        ("router", "internet", "receive"),
        ("router", "vpc", "forward"),
        ("node1", "eth0", "receive"),
        ("node1", "eth0", "dnat"),
        ("node1", "eth0", "snat"),
        ("node1", veth, "forward"),
        ("default.one", "eth0", "deliver"),
    ]
    dnat, snat, pod = path.first(event="dnat"), path.first(event="snat"), await ip_of(lab, "one")
    assert dnat.object == "Service default/opened port 80 (http) (node port 30080) → pod default/one"
    assert_translated(
        dnat, f"{at.client} → {at.host(at.node1)}:30080", f"{at.masqueraded} → {at.host(pod)}:8080", *DNAT
    )
    assert snat.object == "client → node node1"
    assert_translated(
        snat,
        f"{at.client} → {at.host(at.node1)}:30080",
        f"{at.masqueraded} → {at.host(pod)}:8080",
        *MASQUERADE,
    )
    assert_no_vxlan(path, 1)
    assert len(path.connections) == 1 and path.all(connection=0) == []  # an address needs no name server


async def test_a_node_port_of_the_other_node(lab: Lab, at: At) -> None:
    """Translated at the node that was asked, through the overlay to the endpoint's, and back through the first."""
    path = await traced(lab, f"http://{at.host(at.node2)}:30080/")
    assert_answered(path)
    assert list(path.places) == ["client", "router", "node2", "node1", "default.one"]
    [veth] = {h.interface for h in path.all(place="node1")} - {"eth0", at.vxlan}
    assert way(path, event="dnat") == [
        ("client", "eth0", "send"),
        ("router", "internet", "receive"),
        ("router", "vpc", "forward"),
        ("node2", "eth0", "receive"),
        ("node2", "eth0", "dnat"),
        ("node2", "eth0", "snat"),
        ("node2", at.vxlan, "forward"),
        ("node2", "eth0", "encapsulate"),
        ("node1", "eth0", "receive"),
        ("node1", at.vxlan, "decapsulate"),
        ("node1", veth, "forward"),
        ("default.one", "eth0", "deliver"),
    ]
    assert_vxlan(at, path, 1, "node2", "node1")
    dnat, pod = path.first(event="dnat"), await ip_of(lab, "one")
    assert_translated(
        dnat, f"{at.client} → {at.host(at.node2)}:30080", f"{at('10.244.2.0')} → {at.host(pod)}:8080", *DNAT
    )
    assert places_of(path, 1, "response", "send") == ["default.one", "node1", "node2", "router", "client"]
    inner = path.first(event="forward", interface=at.vxlan, place="node2")
    assert inner.route == f"{at.range('10.244.1.0')} via {at('10.244.1.0')} dev {at.vxlan} onlink"


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
async def test_a_load_balancer_service(lab: Lab, at: At, udp: bool) -> None:
    """The Service's own balancer ends the connection and picks a node; UDP is relayed alike."""
    target = "edge.default.lb.test:8000"
    path = await traced(lab, f"{target}/udp" if udp else f"http://{target}/")
    assert_answered(path, None if udp else 200)
    assert list(path.places[:3]) == ["client", "router", "lb-default-edge"]
    assert path.places[-1] == "default.two"
    connect = path.first(event="proxy-connect")
    assert (connect.place, connect.protocol) == ("lb-default-edge", "udp" if udp else "tcp")
    assert re.fullmatch(r"picked node[12] \(\w+, 2 of 2 targets healthy\)", connect.detail)
    assert path.first(event="proxy-accept").index < connect.index
    dnat, port = path.first(event="dnat"), ("echo", 8081) if udp else ("http", 8080)
    assert dnat.object.startswith(f"Service default/edge port 8000 ({port[0]}) (node port ")
    assert dnat.object.endswith(") → pod default/two")
    assert dnat.conntrack is not None
    assert dnat.conntrack["after"].endswith(f" → {at.host(await ip_of(lab, 'two'))}:{port[1]}")
    assert ("nodeport-udp" if udp else "nodeport-tcp") in dnat.rule
    if dnat.place == "node1":
        assert_vxlan(at, path, 2, "node1", "node2")
    if udp:
        assert {h.protocol for h in path.hops} == {"udp"}
        asked = path.first(connection=1, event="send")
        assert asked.detail == "UDP, 30 bytes"
        assert [h.place for h in path.all(connection=1, direction="response")][-1] == "client"


# Inside the cluster


async def test_a_cluster_ip_from_a_pod_on_the_same_node(lab: Lab, at: At) -> None:
    service, own, pod = await cluster_ip(lab, "one"), await ip_of(lab, "asker"), await ip_of(lab, "one")
    path = await traced(lab, f"http://{at.host(service)}/", "pod/asker")
    assert_answered(path)
    assert list(path.places) == ["default.asker", "node1", "default.one"]
    dnat = path.first(event="dnat")
    assert dnat.place == "node1" and dnat.object == "Service default/one port 80 (http) → pod default/one"
    assert_translated(dnat, f"{own} → {at.host(service)}:80", f"{own} → {at.host(pod)}:8080", *DNAT)
    assert path.all(event="snat") == []
    assert_no_vxlan(path, 1)
    assert [h.interface for h in path.all(place="node1", connection=1) if h.interface == "eth0"] == []


async def test_a_cluster_ip_from_a_pod_on_the_other_node(lab: Lab, at: At) -> None:
    """One translation, at the caller's node; the pod's own address goes through the overlay."""
    service, own, pod = await cluster_ip(lab, "two"), await ip_of(lab, "asker"), await ip_of(lab, "two")
    path = await traced(lab, f"http://{at.host(service)}/", "pod/asker")
    assert_answered(path)
    assert list(path.places) == ["default.asker", "node1", "node2", "default.two"]
    assert_vxlan(at, path, 1, "node1", "node2")
    dnat = path.first(event="dnat")
    assert_translated(dnat, f"{own} → {at.host(service)}:80", f"{own} → {at.host(pod)}:8080", *DNAT)
    assert dnat.rule.startswith(f"{at.family.nft} kube-proxy cluster-tcp-")
    assert path.all(event="snat") == []
    assert places_of(path, 1, "response", "send") == ["default.two", "node2", "node1", "default.asker"]
    delivered = path.first(place="default.two", event="deliver")
    assert host(delivered.source) == own and delivered.destination == f"{at.host(pod)}:8080"
    last = [h for h in path.hops if h.place == "default.asker" and h.event == "deliver"][-1]
    assert last.source == f"{at.host(service)}:80"  # the caller never sees the pod's address


async def test_datagrams_to_a_cluster_ip(lab: Lab, at: At) -> None:
    """UDP: one datagram there and one back, the same bytes, joined across translation and overlay."""
    service = await cluster_ip(lab, "two")
    path = await traced(lab, f"{at.host(service)}:80/udp", "pod/asker")
    assert_answered(path, None)
    assert list(path.places) == ["default.asker", "node1", "node2", "default.two"]
    assert path.first(event="dnat").object == "Service default/two port 80 (echo) → pod default/two"
    assert "cluster-udp" in path.first(event="dnat").rule
    assert_vxlan(at, path, 1, "node1", "node2")
    assert {h.packets for h in path.hops if h.event in OUTGOING | INCOMING} == {1}
    assert events(path, place="default.two") == ["deliver", "send"]


async def test_a_connection_alone(lab: Lab) -> None:
    """HOST:PORT opens a TCP connection and closes it: a result without a status."""
    path = await traced(lab, f"{at_of(lab).host(await ip_of(lab, 'two'))}:8080", "pod/asker")
    assert_answered(path, None)
    assert [h.detail for h in path.all(place="default.asker", event="send")][:1] == ["TCP SYN"]
    assert not any("GET" in h.detail for h in path.hops)


async def test_a_cluster_ip_from_a_node(lab: Lab, at: At) -> None:
    """The node translates what it sends itself, and puts its overlay address as the source."""
    service, pod = await cluster_ip(lab, "two"), await ip_of(lab, "two")
    path = await traced(lab, f"http://{at.host(service)}/", "node1")
    assert_answered(path)
    assert list(path.places) == ["node1", "node2", "default.two"]
    dnat, snat = path.first(event="dnat"), path.first(event="snat")
    assert {dnat.place, snat.place} == {"node1"}
    assert_translated(
        dnat, f"{at.node1} → {at.host(service)}:80", f"{at('10.244.1.0')} → {at.host(pod)}:8080", *DNAT
    )
    assert_translated(
        snat, f"{at.node1} → {at.host(service)}:80", f"{at('10.244.1.0')} → {at.host(pod)}:8080", *MASQUERADE
    )
    assert_vxlan(at, path, 1, "node1", "node2")


async def test_a_pod_that_reaches_itself(lab: Lab, at: At) -> None:
    """Hairpin: out of the pod, translated in both directions, and into the same pod."""
    service, own = await cluster_ip(lab, "one"), await ip_of(lab, "one")
    path = await traced(lab, f"http://{at.host(service)}/", "pod/one")
    assert_answered(path)
    assert list(path.places) == ["default.one", "node1", "default.one"]
    dnat, snat = path.first(event="dnat"), path.first(event="snat")
    assert_translated(
        dnat, f"{own} → {at.host(service)}:80", f"{at.masqueraded} → {at.host(own)}:8080", *DNAT
    )
    assert_translated(
        snat,
        f"{own} → {at.host(service)}:80",
        f"{at.masqueraded} → {at.host(own)}:8080",
        "kube-proxy",
        "masquerade",
    )
    [veth] = {h.interface for h in path.all(place="node1")}
    assert way(path, event="dnat") == [
        ("default.one", "eth0", "send"),
        ("node1", veth, "receive"),
        ("node1", veth, "dnat"),
        ("node1", veth, "snat"),
        ("node1", veth, "forward"),
        ("default.one", "eth0", "deliver"),
    ]


async def test_a_pods_own_address_and_a_headless_service(lab: Lab, at: At) -> None:
    """Nothing is translated: the name's address is the pod's."""
    pod = await ip_of(lab, "two")
    named = await traced(lab, "http://bare:8080/", "pod/asker")
    direct = await traced(lab, f"http://{at.host(pod)}:8080/", "pod/asker")
    for path in (named, direct):
        assert_answered(path)
        assert list(path.places) == ["default.asker", "node1", "node2", "default.two"]
        assert [h for h in path.hops if h.connection == 1 and h.event in ("dnat", "snat")] == []
        assert_vxlan(at, path, 1, "node1", "node2")
    assert f"DNS {at.family.record} bare.default.svc.cluster.local: {pod} (TTL 5)" in details(
        named, place="default.asker"
    )
    assert direct.all(connection=0) == []


async def test_pods_in_their_nodes_network(lab: Lab, at: At) -> None:
    """A Service whose pod is in the host's network leads to the node, and such a pod asks from the node's address."""
    service, own = await cluster_ip(lab, "agent"), await ip_of(lab, "asker")
    path = await traced(lab, f"http://{at.host(service)}/", "pod/asker")
    assert_answered(path)
    assert list(path.places) == ["default.asker", "node1", "node2"]
    dnat, snat = path.first(event="dnat"), path.first(event="snat", connection=1)
    assert_translated(dnat, f"{own} → {at.host(service)}:80", f"{at.node1} → {at.host(at.node2)}:9100", *DNAT)
    assert_translated(
        snat,
        f"{own} → {at.host(service)}:80",
        f"{at.node1} → {at.host(at.node2)}:9100",
        "pod-masquerade",
        "masquerade",
    )
    assert_no_vxlan(path, 1)
    assert path.first(place="node2", event="deliver").destination == f"{at.host(at.node2)}:9100"
    assert set(path.totals["container_us"]) == {"node2"}  # the time until it answered is the program's

    path = await traced(lab, f"http://{at.host(await cluster_ip(lab, 'one'))}/", "pod/agent")
    assert_answered(path)
    assert list(path.places) == ["node2", "node1", "default.one"]
    assert path.first(event="dnat").place == path.first(event="snat").place == "node2"


async def test_the_way_out_through_nat(lab: Lab, at: At, server: None) -> None:
    """A pod's address becomes its node's, and the node's becomes the NAT gateway's."""
    outside = at("198.51.100.3")
    own = await ip_of(lab, "asker")
    path = await traced(lab, f"http://{at.host(outside)}:8080/", "pod/asker")
    assert_answered(path)
    assert list(path.places) == ["default.asker", "node1", "router", "outside"]
    at_node, at_router = path.all(event="snat")
    assert (at_node.place, at_router.place) == ("node1", "router")
    assert at_node.object == "pod default/asker → node node1"
    assert_translated(
        at_node,
        f"{own} → {at.host(outside)}:8080",
        f"{at.node1} → {at.host(outside)}:8080",
        "pod-masquerade",
        "masquerade",
    )
    assert at_router.rule.startswith(f"{at.family.nft} ") and "snat" in at_router.rule, at_router.rule
    assert at_router.conntrack is not None
    assert at_router.conntrack["before"] == at_node.conntrack["after"]  # type: ignore[index]
    assert host(at_router.conntrack["after"].split(" → ")[0]) == at.nat
    assert host(path.first(place="outside", event="deliver").source) == at.nat
    assert path.all(event="dnat") == []
    assert_no_vxlan(path, 1)
    back = [h for h in path.hops if "HTTP 200" in h.detail and "translated back" in h.detail]
    assert [h.place for h in back] == ["router", "node1"]


async def test_routed_mode_has_no_overlay(routed: Lab, at: At) -> None:
    """The same ways without VXLAN: the pods' addresses are routed between the nodes as they are."""
    service, own, pod = (
        await cluster_ip(routed, "two"),
        await ip_of(routed, "asker"),
        await ip_of(routed, "two"),
    )
    path = await traced(routed, f"http://{at.host(service)}/", "pod/asker")
    assert_answered(path)
    assert list(path.places) == ["default.asker", "node1", "node2", "default.two"]
    assert_no_vxlan(path, 1)
    assert_translated(
        path.first(event="dnat"), f"{own} → {at.host(service)}:80", f"{own} → {at.host(pod)}:8080", *DNAT
    )
    out = path.first(place="node1", interface="eth0", event="forward")
    assert (out.source, out.destination) == (
        path.first(connection=1, event="send").source,
        f"{at.host(pod)}:8080",
    )
    assert out.route == f"{at.range('10.244.2.0')} via {at.node2} dev eth0"
    path = await traced(routed, f"http://{at.host(at.node2)}:30080/")
    assert_answered(path)
    assert list(path.places) == ["client", "router", "node2", "node1", "default.one"]
    assert_no_vxlan(path, 1)


async def test_segments_fit_the_overlay(lab: Lab, at: At, tmp_path: FilePath) -> None:
    """What a pod offers in its handshake leaves room for VXLAN's 50 bytes, what a client offers doesn't need it."""
    found = {}
    for source, url in (
        ("client", f"http://{at.host(at.node2)}:30080/"),
        ("pod/asker", f"http://{at.host(await ip_of(lab, 'two'))}:8080/"),
    ):
        file = tmp_path / "mtu.pcapng"
        await traced(lab, url, source, pcap=file)
        text = await tshark(file, "tcp.flags.syn == 1 && tcp.flags.ack == 0", "tcp.options.mss_val")
        found[source] = set(text)
    # Without the header of IP, and TCP's of 20 bytes: 20 of IPv4, 40 of IPv6, and in VXLAN between nodes of it 20 more.
    wanted = ("1440", "1370") if at.family is IPV6 else ("1460", "1410")
    assert found == {"client": {wanted[0]}, "pod/asker": {wanted[1]}}


async def tshark(file: FilePath, wanted: str, *fields: str) -> list[str]:
    command = ["tshark", "-n", "-r", str(file), "-d", "udp.port==8472,vxlan", "-Y", wanted, "-T", "fields"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(x for f in fields for x in ("-e", f)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    assert process.returncode == 0, said
    return out.decode().splitlines()


# Names


async def test_search_domains_and_caches(lab: Lab, at: At) -> None:
    """A name of another domain is tried below the pod's own first: each attempt and its NXDOMAIN are there, and
    the second time nobody asks the authoritative server."""
    outside = at("198.51.100.3")
    first = await lab.trace("api.partner.test:9/udp", "pod/asker", timeout=3)
    asked = [h.detail for h in first.all(place="default.asker", event="send", connection=0)]
    tried = [
        f"api.partner.test.{d}" for d in ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
    ]
    assert [a for a in asked if f" {at.family.record}?" in a] == [
        f"DNS {at.family.record}? {n}" for n in (*tried, "api.partner.test")
    ]
    said = [h.detail for h in first.all(place="default.asker", event="deliver", connection=0)]
    said = [detail for detail in said if f"DNS {at.family.record} " in detail]
    assert said[:3] == [f"DNS {at.family.record} {n}: NXDOMAIN" for n in tried]
    assert said[3].startswith(f"DNS {at.family.record} api.partner.test: {outside} (TTL ")

    # Each question went to the cluster's DNS through its Service; it asked the resolver, which asked `dns`.
    assert all(
        h.object.startswith("Service kube-system/kube-dns port 53 (dns) → pod kube-system/coredns-")
        for h in first.all(event="dnat", connection=0)
    )
    whole = f"partner.test. {at.family.record}"
    queries = [
        (h.place, h.detail) for h in first.all(event="dns-query") if whole in h.detail.partition(",")[0]
    ]
    places = [place for place, _ in queries]
    assert places[0].startswith("kube-system.coredns-") and places[1:] == ["resolver", "dns"]
    answered = [
        h
        for h in first.all(event="dns-answer")
        if h.detail.startswith(f"api.partner.test. {at.family.record}: {outside}")
    ]
    assert [h.place for h in answered] == ["dns", "resolver", places[0]]
    assert answered[1].detail == f"api.partner.test. {at.family.record}: {outside}, TTL 30, asked upstream"

    second = await lab.trace("api.partner.test:9/udp", "pod/asker", timeout=3)
    cached = [h for h in second.all(event="dns-answer") if h.detail.endswith(", from the cache")]
    hit = next(h for h in cached if f" {at.family.record}: {outside}, " in h.detail)
    assert re.fullmatch(
        rf"api\.partner\.test\. {at.family.record}: {outside}, TTL (\d+), from the cache", hit.detail
    )
    assert second.all(place="dns", detail=f"DNS {at.family.record}? api.partner.test") == []


async def test_a_cached_answers_time_runs_down(lab: Lab, at: At) -> None:
    """What is left of the TTL is in the server's words and in the packet alike."""
    left = []

    async def lower() -> bool:
        path = await traced(lab, "http://plain.trace.test/two")
        answer = path.first(event="dns-answer", place="resolver")
        ttl = re.search(rf"{at.vip}, TTL (\d+)", answer.detail)
        assert ttl is not None
        assert f"DNS {at.family.record} plain.trace.test: {at.vip} (TTL {ttl[1]})" in details(
            path, place="client", event="deliver"
        )
        left.append((int(ttl[1]), answer.detail.rpartition(", ")[2]))
        return len(left) > 1 and left[-1][0] < left[-2][0]  # the first may be the last that this entry gives

    await eventually(lower)
    assert 0 < left[-1][0] < left[-2][0] <= 30 and left[-1][1] == "from the cache"


# The command line


async def test_the_ladder(shop: Lab) -> None:
    """Piped: plain text of at most 100 columns that names every place."""
    done = await cli("-l", shop.name, "trace", URL)
    assert done.status == 0 and done.stderr == b"", done.stderr
    text = done.stdout.decode()
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= 100
    first, *rest = text.splitlines()
    assert re.match(rf"GET {re.escape(URL)} from client: 200 in [\d.]+ ms", first)
    for word in ("router", "public-lb", "proxy-accept", "dnat", "Ingress default/shop-ingress", "conntrack"):
        assert any(word in line for line in rest), word


async def test_json(shop: Lab) -> None:
    """One document in the contract's shape, and the same story as the API tells."""
    done = await cli("-l", shop.name, "trace", "-o", "json", "--from", "client", URL)
    assert done.status == 0 and done.stderr == b"", done.stderr
    found = json.loads(done.stdout)
    assert list(found["request"])[:4] == ["from", "url", "status", "duration_us"]
    assert (found["request"]["from"], found["request"]["url"], found["request"]["status"]) == (
        "client",
        URL,
        200,
    )
    path = await traced(shop, URL)
    assert found.keys() == path.to_json().keys()
    assert {frozenset(h) for h in found["hops"]} == {frozenset(h) for h in path.to_json()["hops"]}
    assert {(h["place"], h["event"]) for h in found["hops"] if h["connection"] == 1} == {
        (h.place, h.event) for h in path.all(connection=1)
    }
    assert abs(sum(h["delta_us"] for h in found["hops"]) - found["request"]["duration_us"]) < 0.5


async def test_mermaid(shop: Lab) -> None:
    done = await cli("-l", shop.name, "trace", "-o", "mermaid", URL)
    assert done.status == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "sequenceDiagram"
    assert any("public-lb" in line for line in lines[1:]) and any("->>" in line for line in lines[1:])


async def test_all_shows_each_packet(shop: Lab) -> None:
    """`--all` unfolds the flights: no hop stands for more than one packet, and there are as many packets."""

    async def as_many() -> bool:
        whole, folded = [
            json.loads((await cli("-l", shop.name, "trace", "-o", "json", *options, URL)).stdout)["hops"]
            for options in (["--all"], [])
        ]
        assert {h["packets"] for h in whole} == {0, 1} and max(h["packets"] for h in folded) > 1
        mine = [
            sum(h["packets"] for h in hops if h["connection"] == 1 and h["place"] == "client")
            for hops in (whole, folded)
        ]
        # Three of the handshake, two of each of request and answer, the close; whose second half may come later than
        # a trace waits for the quiet.
        return mine[0] == mine[1] and min(mine) >= 9

    # They are two requests, and whether an acknowledgement goes with an answer or alone is up to the machine.
    await eventually(as_many)


async def test_a_capture_file(shop: Lab, tmp_path: FilePath) -> None:
    """pcapng with an interface for each place's, and comments where something was decided."""
    file = tmp_path / "shop.pcapng"
    done = await cli("-l", shop.name, "trace", "--pcap", str(file), URL)
    assert done.status == 0, done.stderr
    frames = await dissect(file)
    names = {f["frame.interface_name"][0] for f in frames}
    assert {"client/eth0", "router/internet", "router/vpc", "public-lb/eth0", "node1/eth0"} <= names
    comments = "\n".join(f["frame.comment"][0] for f in frames)
    assert "dnat at node" in comments and "rule: ip kube-proxy nodeport-tcp-" in comments
    assert "Ingress default/shop-ingress: shop.example.com /products Prefix" in comments


async def test_a_request_that_fails_is_a_result_with_status_1(lab: Lab, at: At, tmp_path: FilePath) -> None:
    """The whole story on stdout, the reason in one line on stderr."""
    done = await cli("-l", lab.name, "trace", "-o", "json", f"http://{at.host(at.node1)}:31999/")
    assert done.status == 1
    found = json.loads(done.stdout)
    failure = found["request"]["failure"]
    assert found["request"]["status"] is None and failure["place"] == "node1"
    assert done.stderr.decode() == f"emulab: trace: {failure['text']}; {failure['remedy']}\n"
    assert f"{at.host(at.node1)}:31999" in failure["text"]
    assert_shape(await lab.trace(f"http://{at.host(at.node1)}:31999/"))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--from", "nowhere", "http://10.0.0.11/"], 1, "nowhere"),
        (["--from", "pod/nobody", "http://10.0.0.11/"], 1, "nobody"),
        (["http://unknown.trace.test/"], 1, "unknown.trace.test"),
        (["10.0.0.11:99999"], 2, "99999"),
        (["ftp://10.0.0.11/"], 2, "ftp"),
        (["-X", "GET", "10.0.0.11:80"], 2, "HTTP"),
        (["--pcap", "/no/such/folder/x.pcapng", "http://10.0.0.11/"], 1, "/no/such/folder/x.pcapng"),
        ([], 2, "usage"),
    ],
)
async def test_bad_input_is_one_clear_line(lab: Lab, arguments: list[str], status: int, words: str) -> None:
    done = await cli("-l", lab.name, "trace", *arguments)
    assert done.status == status, (done.stdout, done.stderr)
    said = done.stderr.decode()
    assert words.lower() in said.lower() and "Traceback" not in said
    if status == 1:
        [line] = said.splitlines()
        assert line.startswith("emulab: ")


async def test_a_lab_that_is_down_is_one_clear_line() -> None:
    done = await cli("-l", "nobody-made-this", "trace", URL)
    assert done.status == 1 and done.stdout == b""
    [line] = done.stderr.decode().splitlines()
    assert "nobody-made-this" in line and "emulab -l nobody-made-this up" in line


async def test_the_api_raises_for_bad_input(lab: Lab) -> None:
    with pytest.raises(UserError, match="nowhere"):
        await lab.trace("http://one/", source="nowhere")
    with pytest.raises(UserError, match="out of range"):
        await lab.trace("10.0.0.11:70000")
    path = await traced(lab, "http://unknown.trace.test/")
    assert path.status is None and path.failure is not None and path.failure.reason == "nxdomain"
