"""Balancers of mode nat: packets forwarded by the kernel, clients' addresses kept, who isn't well left out."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .families import At, at_of, lab_in, worlds_of
from .tools import (
    capture,
    connect,
    conntrack,
    datagram,
    emulab,
    eventually,
    exchange,
    output,
    program,
    refused,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFICE = "10.0.0.200"

WORLD = f"""
apiVersion: emulab.dev/v1
kind: Client
metadata: {{name: office}}
spec: {{network: vpc}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - {{name: c, image: example/web, ports: [{{containerPort: 8080}}, {{containerPort: 5353, protocol: UDP}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: local}}
spec:
  type: LoadBalancer
  loadBalancerClass: service.k8s.aws/nlb
  loadBalancerIP: 203.0.113.30
  externalTrafficPolicy: Local
  selector: {{app: web}}
  ports:
    - {{name: http, port: 80, targetPort: 8080}}
    - {{name: udp, port: 5353, protocol: UDP}}
---
apiVersion: v1
kind: Service
metadata: {{name: plain}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: nobody}}
spec: {{type: NodePort, selector: {{app: nobody}}, ports: [{{port: 80}}]}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: by-cluster}}
spec:
  network: internet
  address: 203.0.113.31
  mode: nat
  ports: [80]
  target: {{service: {{name: plain, port: http}}}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: hiding}}
spec:
  network: internet
  address: 203.0.113.32
  mode: nat
  preserveClientIP: false
  algorithm: source
  ports: [80]
  sourceRanges: [198.51.100.0/24]
  target: {{service: {{name: plain, port: http}}}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: sticky}}
spec:
  network: internet
  address: 203.0.113.33
  mode: nat
  stickiness: 60
  ports: [80]
  sourceRanges: [198.51.100.0/24]
  deny: drop
  target: {{service: {{name: plain, port: http}}}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: empty}}
spec:
  network: internet
  address: 203.0.113.34
  mode: nat
  ports: [80, "53/UDP"]
  target: {{service: {{name: nobody, port: 80}}}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: few}}
spec:
  network: internet
  address: 203.0.113.37
  mode: nat
  ports: [9100]
  limits: {{connections: 2}}
  target: {{service: {{name: mirror, port: 9100}}}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: slow}}
spec:
  network: internet
  address: 203.0.113.38
  mode: nat
  ports: [9100]
  limits: {{rate: 1}}
  idleTimeout: 7
  target: {{service: {{name: mirror, port: 9100}}}}
---
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
  loadBalancerClass: emulab.dev/nat
  loadBalancerIP: 203.0.113.36
  selector: {{app: mirror}}
  ports: [{{port: 9100}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: single, labels: {{app: single}}}}
spec: {{containers: [{{name: c, image: example/single, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata:
  name: seldom
  annotations:
    service.beta.kubernetes.io/aws-load-balancer-healthcheck-interval: "30"
    service.beta.kubernetes.io/aws-load-balancer-healthcheck-unhealthy-threshold: "10"
spec:
  type: LoadBalancer
  loadBalancerClass: service.k8s.aws/nlb
  loadBalancerIP: 203.0.113.39
  externalTrafficPolicy: Local
  selector: {{app: single}}
  ports: [{{port: 80, targetPort: 8080}}]
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("balancers by nat"))
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with lab_in(request.param, WORLD) as lab:
        yield lab


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


async def asked(lab: Lab, address: str, source: str = "client") -> dict[str, str]:
    at = at_of(lab)
    answer = await lab.request(f"http://{at.host(at(address))}/", source=source, timeout=20)
    assert answer.status == 200
    found: dict[str, str] = answer.json()
    return found


async def test_a_lab_is_up_when_its_balancers_know_their_targets(lab: Lab, at: At) -> None:
    """One of the two nodes has no endpoint, and would be found not to be well only after minutes."""
    assert len({(await asked(lab, "203.0.113.39"))["node"] for _ in range(4)}) == 1


async def test_a_pod_sees_the_clients_own_address(lab: Lab, at: At) -> None:
    """With the policy Local nobody translates the source; both nodes have their turn, from inside and outside."""
    for source, address in (("client", at.client), ("office", at(OFFICE))):
        seen = [await asked(lab, "203.0.113.30", source) for _ in range(4)]
        assert {answer["client"].rpartition(":")[0].strip("[]") for answer in seen} == {address}
        assert Counter(answer["node"] for answer in seen) == {"node1": 2, "node2": 2}


async def test_the_way_back_goes_through_the_balancer(lab: Lab, at: At) -> None:
    """A client next to the nodes is answered by the balancer's address, not by the node directly."""
    async with capture(lab, "lb-default-local", "tcp port 80 or tcp portrange 30000-32767") as seen:
        await asked(lab, "203.0.113.30", "office")
        await seen.until(
            rf"{at.ip} {at.pattern('203.0.113.30')}\.80 > {at.pattern(OFFICE)}\.\d+: Flags \[S\."
        )
        node = f"(?:{re.escape(at.node1)}|{re.escape(at.node2)})"
        await seen.until(rf"{at.ip} {node}\.3\d{{4}} > {at.pattern(OFFICE)}\.\d+: Flags \[S\.")


async def test_connections_are_counted_as_the_kernel_tracks_them(lab: Lab, at: At) -> None:
    """Nothing of ours is on their way."""
    held = [await connect(lab, "client", at("203.0.113.31"), 80) for _ in range(3)]

    async def same() -> bool:
        done = await emulab("-l", lab.name, "describe", "loadbalancer", "by-cluster")
        assert done.status == 0, done.stderr
        told = re.search(rf"Connections: +tcp/{at.pattern('203.0.113.31')}/80: (\d+) tracked", done.text)
        assert told is not None, done.text
        seen = await conntrack(lab, "by-cluster", *at.tracked, "-p", "tcp", "--orig-dst", at("203.0.113.31"))
        return len(held) <= int(told[1]) == len(seen)

    await eventually(same)
    for _, writer in held:
        writer.close()


async def test_a_node_sees_the_client_where_the_cluster_translates(lab: Lab, at: At) -> None:
    """Policy Cluster: a node puts its own address in the place of the client's, which it saw until then."""
    async with capture(lab, "node1", f"src {at.client} and tcp dst portrange 30000-32767") as seen:
        answers = [await asked(lab, "203.0.113.31") for _ in range(4)]
        await seen.until(r"Flags \[S\]", 2)
    assert all(not answer["client"].startswith(f"{at.host(at.client)}:") for answer in answers)


async def test_a_balancer_may_hide_clients(lab: Lab, at: At) -> None:
    """preserveClientIP: false puts the balancer's own address in; by its hash of the source one node serves."""
    [found] = await lab.get("LoadBalancer", "hiding", "")
    own = found["status"]["address"]
    request = rf"{at.ip} {re.escape(own)}\.\d+ > .*Flags \[P"  # others check these nodes, too
    asked_ports = "tcp dst portrange 30000-32767"
    async with capture(lab, "node1", asked_ports) as one, capture(lab, "node2", asked_ports) as two:
        for _ in range(6):
            await asked(lab, "203.0.113.32")

        async def all_seen() -> bool:
            return sum(len(c.matching(request)) for c in (one, two)) >= 6

        await eventually(all_seen)
    asks = [c.matching(request) for c in (one, two)]
    assert sorted(map(len, asks)) == [0, 6], asks
    assert not [line for c in (one, two) for line in c.matching(rf"{at.ip} {re.escape(at.client)}\.")]


async def test_who_may_not_in_is_reset_or_hears_nothing(lab: Lab, at: At) -> None:
    """The office isn't in the ranges: reset where nothing else is said, and silence by deny: drop."""
    await refused(lab, "office", at("203.0.113.32"), 80)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await connect(lab, "office", at("203.0.113.33"), 80)
    assert (await asked(lab, "203.0.113.33"))["node"]


async def test_a_client_keeps_its_backend(lab: Lab, at: At) -> None:
    """By `stickiness` all connections of a client go to one node, where turns alone would change."""
    of_client = f"src {at.client} and tcp dst portrange 30000-32767"
    async with capture(lab, "node1", of_client) as one, capture(lab, "node2", of_client) as two:
        for _ in range(5):
            await asked(lab, "203.0.113.33")

        async def all_seen() -> bool:
            return sum(len(c.matching(r"Flags \[S\]")) for c in (one, two)) >= 5

        await eventually(all_seen)
    assert sorted(len(c.matching(r"Flags \[S\]")) for c in (one, two)) == [0, 5]


async def test_datagrams_go_both_ways(lab: Lab, at: At) -> None:
    for size in (1, 1200):
        assert await datagram(lab, "client", at("203.0.113.30"), 5353, b"x" * size) == b"x" * size


async def test_trace_shows_the_translation_and_the_way_back(lab: Lab, at: At) -> None:
    path = await lab.trace(f"http://{at.host(at('203.0.113.30'))}/")
    assert path.failure is None
    balancer = [hop for hop in path.hops if hop.place == "lb-default-local"]
    (chosen,) = [hop for hop in balancer if hop.event == "dnat"]
    assert re.search(rf"{re.escape(at.host(at('203.0.113.30')))}:80 → \[?{at.own}", chosen.detail)
    assert f"{at.family.nft} balancer target/tcp-80/node" in chosen.rule
    back = [
        hop for hop in path.hops if hop.direction == "response" and hop.place.startswith("node") and hop.route
    ]
    assert {hop.route for hop in back} == {"by its connection's mark, to lb-default-local"}
    failed = await lab.trace(f"http://{at.host(at('203.0.113.32'))}/", source="office")
    assert failed.failure is not None and failed.failure.place == "hiding"
    assert "spec.sourceRanges of LoadBalancer/hiding" in failed.failure.text


async def test_without_a_healthy_backend_it_refuses_at_once(lab: Lab, at: At) -> None:
    async def unhealthy() -> bool:
        [found] = await lab.get("LoadBalancer", "empty", "")
        return len(found["status"].get("unhealthyBackends", ())) == 2

    await eventually(unhealthy)

    async def by_rules() -> bool:
        return "reject with tcp reset" in await output(
            lab, "empty", "nft", "list", "table", at.family.nft, "balancer"
        )

    await eventually(by_rules)
    await refused(lab, "client", at("203.0.113.34"), 80)
    await refused(lab, "client", at("203.0.113.34"), 53, udp=True)
    events = [e["message"] for e in await lab.get("Event") if e["involvedObject"]["name"] == "empty"]
    assert any("is not healthy: L4CON" in message for message in events)


async def test_megabytes_and_a_half_close(lab: Lab, at: At) -> None:
    data = bytes(range(256)) * 8000
    assert await exchange(await connect(lab, "client", at("203.0.113.36"), 9100), data) == data


async def test_limits_refuse_what_is_above_them(lab: Lab, at: At) -> None:
    held = [await connect(lab, "client", at("203.0.113.37"), 9100) for _ in range(2)]
    await refused(lab, "client", at("203.0.113.37"), 9100)
    for _, writer in held:
        writer.write(b"ping")
        writer.close()

    async def room() -> bool:
        try:
            _, writer = await connect(lab, "client", at("203.0.113.37"), 9100)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    await eventually(room, pause=0.5)


async def test_a_rate_and_an_idle_timeout(lab: Lab, at: At) -> None:
    """One new connection a second; the kernel forgets who is silent for seven."""
    refusals = 0
    for _ in range(4):
        try:
            _, writer = await connect(lab, "client", at("203.0.113.38"), 9100)
        except ConnectionRefusedError:
            refusals += 1
        else:
            writer.close()
    assert refusals >= 1
    path = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
    assert (await output(lab, "slow", "cat", path)).strip() == "7"


async def test_an_open_connection_survives_the_end_of_its_backend(lab: Lab, at: At) -> None:
    """Who goes from the rules gets nothing new: with both nodes deaf to it new ones are refused, open ones go on."""
    reader, writer = await connect(lab, "client", at("203.0.113.36"), 9100)
    writer.write(b"before")
    assert await asyncio.wait_for(reader.readexactly(6), 20) == b"before"
    chain = "type filter hook prerouting priority -400"
    first = "tcp dport 30000-32767 tcp flags & (syn | ack) == syn"
    script = f"table {at.family.nft} cut {{ chain in {{ {chain}; {first} drop; }}; }}"
    for node in ("node1", "node2"):
        done = await lab.exec(node, "nft", "-f", "-", stdin=script.encode())
        assert done.status == 0, done.stderr
    try:

        async def closed() -> bool:
            table = await output(lab, "lb-default-mirror", "nft", "list", "table", at.family.nft, "balancer")
            return "reject with tcp reset" in table

        await eventually(closed)
        await refused(lab, "client", at("203.0.113.36"), 9100)
        writer.write(b"after")
        assert await asyncio.wait_for(reader.readexactly(5), 20) == b"after"
        writer.close()
    finally:
        for node in ("node1", "node2"):
            await output(lab, node, "nft", "delete", "table", at.family.nft, "cut")

    async def open_again() -> bool:
        table = await output(lab, "lb-default-mirror", "nft", "list", "table", at.family.nft, "balancer")
        return "reject" not in table

    await eventually(open_again)


async def test_a_node_without_an_endpoint_is_left_out(lab: Lab, at: At) -> None:
    """healthCheckNodePort tells of a node without any: with one pod, all requests go to its node."""
    await lab.scale("web", 1)

    async def one_left() -> bool:
        table = await output(
            lab, "lb-default-local", "nft", "list", "chain", at.family.nft, "balancer", "choices"
        )
        return "numgen" not in table and "goto target/tcp-80" in table

    await eventually(one_left)
    assert len({(await asked(lab, "203.0.113.30"))["node"] for _ in range(6)}) == 1
