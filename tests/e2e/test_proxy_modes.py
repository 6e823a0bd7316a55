"""kube-proxy's semantics with real packets, the same tests in every mode that this kernel can do.

Where modes differ, the difference is one that the real ones have, and the test says so. IPVS runs in the VM.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.model.addresses import parse_address, socket_name

from .families import At, at_of, lab_in, modes_in_worlds
from .proxyworld import CLOSED, LATE, VIP_FENCED, VIP_LOCAL, WORLD, service
from .tools import (
    INTERPRETER,
    OF_ROOT,
    PROGRAMS,
    cluster_ip,
    conntrack,
    emulab,
    eventually,
    output,
    refused,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODES = ("nftables", "iptables", "userspace")
IN_TURN = ("ipvs", "userspace", "kube-router")
"""Modes that deal connections out in turn, as kube-proxy's; the rules of the others choose at random."""

VIRTUAL = ("ipvs", "kube-router")
"""Modes with virtual servers, which run where every instruction is emulated."""
as_kube_proxy = pytest.mark.not_in(lambda world: world[0] == "kube-router")
"""What kube-router does otherwise, as tests/vm/test_kube_router_services.py has it."""

enough: dict[str, int] = {}
"""How many connections meet every endpoint of a Service, by the lab's name.

By chance one of two that are as likely is missed by 40 once in 5 * 10^11 times. In turn, six are two rounds of three.
"""
NODE3 = "10.0.0.13"


def asked(mode: str) -> str:
    """A Cluster's proxy; kube-router's goes with its network alone."""
    network = "\n  network: {plugin: kube-router}" if mode == "kube-router" else ""
    return f"{{mode: {mode}}}{network}"


@pytest_asyncio.fixture(
    loop_scope="module",
    scope="module",
    params=modes_in_worlds(
        "proxies",
        [
            *MODES,
            pytest.param("ipvs", marks=pytest.mark.vm),
            pytest.param("kube-router", marks=pytest.mark.vm),
            pytest.param("ebpf", marks=OF_ROOT),
        ],
    ),
)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    mode, families = request.param
    async with lab_in(families, WORLD.replace("{mode: MODE}", asked(mode))) as made:
        await made.apply(LATE, ready=False)
        enough[made.name] = 6 if mode in IN_TURN else 40
        yield made


@pytest.fixture
def mode(lab: Lab, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["lab"][0])


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


def nodes(at: At) -> tuple[str, str, str]:
    return at.node1, at.node2, at(NODE3)


async def ask(lab: Lab, source: str, address: str, port: int, path: str = "/") -> dict[str, Any]:
    """What the stand-in says of itself."""
    found = await fetch(lab, source, address, port, path)
    answer: dict[str, Any] = json.loads(found.partition(b"\r\n\r\n")[2])
    return answer


async def fetch(lab: Lab, source: str, address: str, port: int, path: str = "/") -> bytes:
    """The whole answer over a connection of its own. A library for it takes seconds to load in the VM."""
    loop = asyncio.get_running_loop()
    with await lab.socket(source) as sock:
        async with asyncio.timeout(15):
            await loop.sock_connect(sock, (address, port))
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            await loop.sock_sendall(sock, request.encode())
            data = b""
            while chunk := await loop.sock_recv(sock, 1 << 16):
                data += chunk
    return data


async def who(lab: Lab, source: str, address: str, port: int, times: int = 0) -> set[str]:
    """The pods that answer, all of them if not told how often to ask."""
    return {(await ask(lab, source, address, port))["pod"] for _ in range(times or enough[lab.name])}


async def seen_as(lab: Lab, source: str, address: str, port: int) -> str:
    """The address that a pod sees as its client's."""
    return str((await ask(lab, source, address, port))["client"]).rpartition(":")[0].strip("[]")


async def silence(lab: Lab, source: str, address: str, port: int, seconds: float = 0.7) -> None:
    """Nothing answers a connection, and nothing refuses it."""
    loop = asyncio.get_running_loop()
    with await lab.socket(source) as sock, pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, (address, port))


async def echo(lab: Lab, source: str, address: str, port: int, payload: bytes = b"hello") -> bytes:
    loop = asyncio.get_running_loop()
    with await lab.socket(source, socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (address, port))
        await loop.sock_sendall(sock, payload)
        async with asyncio.timeout(15):
            return await loop.sock_recv(sock, 1 << 16)


async def refused_datagram(lab: Lab, source: str, address: str, port: int) -> None:
    """A datagram is refused. It is sent again, as the kernel tells one destination just so much (icmp_ratelimit)."""
    loop = asyncio.get_running_loop()
    with await lab.socket(source, socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (address, port))
        # A datagram that the node's own output hook rejects is refused at sendmsg: EPERM.
        with pytest.raises((ConnectionRefusedError, PermissionError)):
            for _ in range(15):
                await loop.sock_sendall(sock, b"?")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await loop.sock_recv(sock, 100)


# 1: ports and protocols


async def test_several_ports_named_targets_and_both_protocols_on_one_number(lab: Lab) -> None:
    web = await cluster_ip(lab, "web")
    answer = await ask(lab, "pod/asker", web, 80)
    assert answer["port"] == (8080 if answer["pod"] == "east" else 9090), "a named port is the pod's own"
    assert (await ask(lab, "pod/asker", web, 81))["port"] == 7070
    assert await echo(lab, "pod/asker", web, 80) == b"hello"
    assert await who(lab, "pod/asker", web, 80) == {"east", "west"}


# 2: which endpoints


async def test_only_ready_endpoints_unless_the_service_publishes_others(lab: Lab) -> None:
    eager = await cluster_ip(lab, "eager")

    async def both() -> bool:  # a pod that isn't ready isn't waited for
        return await who(lab, "pod/asker", eager, 80) == {"early", "late"}

    await eventually(both)
    assert await who(lab, "pod/asker", await cluster_ip(lab, "mixed"), 80) == {"early"}


async def test_an_endpoint_slice_written_by_hand(lab: Lab, mode: str, at: At) -> None:
    [west] = await lab.get("Pod", "west")
    manual = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "manual-1", "labels": {"kubernetes.io/service-name": "manual"}},
        "addressType": at.family.name,
        "ports": [{"name": "http", "protocol": "TCP", "port": 9090}],
        "endpoints": [{"addresses": [west["status"]["podIP"]]}],
    }
    await lab.apply(json.dumps(manual), ready=False)
    assert await who(lab, "pod/asker", await cluster_ip(lab, "manual"), 80) == {"west"}
    await lab.delete("EndpointSlice", "manual-1")
    await refused(lab, "pod/asker", await cluster_ip(lab, "manual"), 80, by_icmp=mode == "iptables")


async def test_terminating_endpoints_serve_on_when_no_ready_one_is_left(lab: Lab) -> None:
    address = await cluster_ip(lab, "ending")
    assert await who(lab, "pod/asker", address, 80) == {"ending"}
    deleting = asyncio.ensure_future(lab.delete("Pod", "ending"))

    async def terminating() -> bool:
        slices = await lab.get("EndpointSlice")
        found = [e for s in slices for e in s["endpoints"] if e.get("targetRef", {}).get("name") == "ending"]
        return bool(found) and all(e["conditions"]["terminating"] for e in found)

    await eventually(terminating)
    assert await who(lab, "pod/asker", address, 80, 3) == {"ending"}
    await deleting  # returns long before the Pod has ended


# 3: nobody there


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
async def test_no_endpoint_is_refused_at_once(lab: Lab, mode: str, udp: bool, at: At) -> None:
    address = await cluster_ip(lab, "nobody")
    targets = [("pod/asker", address, 80), ("node1", address, 80)]
    targets += [("office", node, 30081) for node in nodes(at)] + [("pod/asker", at("192.0.2.81"), 80)]
    targets += [("pod/asker", at(CLOSED), 80)]
    for source, to, port in targets:
        if udp:
            await refused_datagram(lab, source, to, port)
        else:
            await refused(lab, source, to, port, by_icmp=mode in ("iptables", "kube-router"))


async def test_a_port_of_a_cluster_ip_that_no_service_has(lab: Lab, mode: str) -> None:
    """Refused in nftables mode; elsewhere the packet finds no way, and what becomes of it differs, as for real."""
    address = await cluster_ip(lab, "web")
    if mode == "nftables":
        await refused(lab, "pod/asker", address, 4444)
    else:
        with pytest.raises(OSError):
            await ask(lab, "pod/asker", address, 4444)


def shown(address: str, port: int) -> str:
    return socket_name(parse_address(address), port)


async def test_lb_shows_what_programs_know(lab: Lab, mode: str) -> None:
    address = await cluster_ip(lab, "trio")
    done = await emulab("-l", lab.name, "lb", "node3")
    if mode != "ebpf":
        assert done.status == 1 and done.stderr.decode() == (
            f"emulab: nodes have BPF programs in proxy mode ebpf alone, and this lab's is {mode}\n"
        )
        return
    lines = done.stdout.decode().splitlines()
    [at] = [
        i
        for i, line in enumerate(lines)
        if line.startswith(f"{shown(address, 80)}/TCP ") and " inside " in line
    ]
    found = [re.split(r"\s{2,}", line.strip())[-1] for line in lines[at : at + 3]]
    ends = {shown((await lab.get("Pod", f"trio-{x}"))[0]["status"]["podIP"], 8080) for x in "abc"}
    assert {line.partition(" ")[2] for line in found} == ends
    done = await emulab("-l", lab.name, "lb", "nowhere")
    assert done.stderr.decode() == "emulab: there is no node nowhere; the nodes are node1, node2, node3\n"


# 4: affinity and fairness


async def test_a_client_stays_with_its_endpoint_for_the_timeout(lab: Lab, mode: str) -> None:
    for source in ("pod/asker", "pod/east", "node3"):  # hours: none of them is ever away for too long
        assert len(await who(lab, source, await cluster_ip(lab, "loyal"), 80, 10)) == 1
    if mode in VIRTUAL:
        return  # it knows a client for as long as it knows connections of it: two minutes after their end
    address = await cluster_ip(lab, "sticky")
    chosen = set()
    for _ in range(40):  # the timeout is a second: who stays away longer is dealt out again
        chosen |= await who(lab, "pod/asker", address, 80, 1)
        if len(chosen) > 1:
            break
        await asyncio.sleep(1.3)
    assert chosen == {"east", "west"}


async def test_endpoints_are_chosen_fairly(lab: Lab, mode: str) -> None:
    """Chi-square over 3,000 connections to three endpoints; 36.8 is passed by chance once in 100 million times.

    Rules that don't mind how many are left to choose from (1/3, 2/9, 4/9) come to 220 on average, and shares of
    40, 30 and 30 % are found 19 times in 20.
    """
    address = await cluster_ip(lab, "trio")
    in_turn = mode in IN_TURN
    number = 60 if mode in VIRTUAL else 300 if in_turn else 3000  # as every instruction is emulated there
    command = (INTERPRETER, "-c", (PROGRAMS / "connect.py").read_text(), address, "80", str(number))
    counts = json.loads(await output(lab, "pod/asker", *command))
    if in_turn:
        assert counts == dict.fromkeys(("trio-a", "trio-b", "trio-c"), number // 3)
        return
    assert set(counts) == {"trio-a", "trio-b", "trio-c"} and sum(counts.values()) == 3000
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 36.8, counts


# 5: node ports


async def test_a_node_port_is_open_on_every_node_but_not_on_loopback(lab: Lab, at: At) -> None:
    for node in nodes(at):
        assert await who(lab, "office", node, 30080, 6) <= {"east", "west"}
        assert await echo(lab, "office", node, 30080) == b"hello"
    assert await who(lab, "node3", at(NODE3), 30080, 6) <= {"east", "west"}
    with pytest.raises(OSError):
        await ask(lab, "node1", str(at.family.loopback), 30080)


# 6: traffic policies


async def test_policy_cluster_masquerades_what_comes_from_outside(lab: Lab, at: At) -> None:
    assert await seen_as(lab, "office", at(NODE3), 30080) != at("10.0.0.200")
    assert await seen_as(lab, "client", at.node1, 30080) != at.client


@as_kube_proxy
async def test_policy_local_keeps_the_clients_address_and_drops_elsewhere(
    lab: Lab, mode: str, at: At
) -> None:
    seen = await seen_as(lab, "client", at.node1, 30082)
    if mode == "userspace":  # a process stands in between, so nobody's address is kept
        assert seen != at.client
    else:
        assert seen == at.client
    assert await who(lab, "client", at.node1, 30082, 6) == {"east"}
    await silence(lab, "client", at(NODE3), 30082)


async def test_who_asks_for_policies_hears_of_a_proxy_that_connects_itself(lab: Lab, mode: str) -> None:
    told = await emulab("-l", lab.name, "policy", "check", "asker", "svc/loyal")
    assert (b"policies judge that one's address" in told.stderr) == (mode == "userspace"), told.stderr


@as_kube_proxy
async def test_pods_and_nodes_reach_a_local_service_from_everywhere(lab: Lab, at: At) -> None:
    """The short-cut: as if the packet had gone out to the balancer and come in again (KEP-1669, kube-proxy)."""
    for source in ("pod/far", "node3"):
        assert await who(lab, source, at(VIP_LOCAL), 80) == {"east", "west"}
        assert await who(lab, source, at(NODE3), 30082) == {"east", "west"}


@as_kube_proxy
async def test_internal_policy_local(lab: Lab, mode: str) -> None:
    address = await cluster_ip(lab, "inner")
    assert await who(lab, "pod/neighbour", address, 80, 6) == {"east"}
    assert await who(lab, "pod/asker", address, 80, 6) == {"west"}
    if mode == "ipvs":  # its virtual server is empty there
        with pytest.raises(ConnectionRefusedError):
            await ask(lab, "pod/far", address, 80)
    else:
        await silence(lab, "pod/far", address, 80)


# 7: addresses from outside


@as_kube_proxy
async def test_external_ips_balancer_addresses_and_source_ranges(lab: Lab, at: At) -> None:
    assert await who(lab, "pod/asker", at("192.0.2.80"), 80, 6) <= {"east", "west"}
    assert await who(lab, "client", at(VIP_FENCED), 80, 3) <= {"east", "west"}, "through the balancer"
    await silence(
        lab, "pod/asker", at(VIP_FENCED), 80
    )  # on its own node, by its own source: not in the ranges


@as_kube_proxy
async def test_a_node_that_has_a_balancers_address_itself(lab: Lab, mode: str, at: At) -> None:
    """kube-proxy's allowFromNode: it sends there with that very address, and may if its own is in the ranges."""
    for node, allowed in (("node3", True), ("node1", False)):
        # With IPVS all nodes have all addresses.
        changes = () if mode in VIRTUAL else ("add", "del")
        for change in changes[:1]:
            await output(lab, node, "ip", "address", change, at.alone(VIP_FENCED), "dev", "lo")
        if allowed:
            assert await who(lab, node, at(VIP_FENCED), 80, 3) <= {"east", "west"}
        else:
            await silence(lab, node, at(VIP_FENCED), 80)
        for change in changes[1:]:
            await output(lab, node, "ip", "address", change, at.alone(VIP_FENCED), "dev", "lo")


async def test_an_address_of_ip_mode_proxy_is_left_to_the_balancer(lab: Lab, at: At) -> None:
    """The ingress controller's address is handled by public-lb alone: a pod's packet goes all the way there."""
    before = (await lab.server_status("public-lb"))["frontends"][f"tcp/{at.vip}/80"]["targets"]
    assert (await fetch(lab, "pod/asker", at.vip, 80)).startswith(b"HTTP/1.1 404 ")
    after = (await lab.server_status("public-lb"))["frontends"][f"tcp/{at.vip}/80"]["targets"]
    assert sum(t["total"] for t in after.values()) == sum(t["total"] for t in before.values()) + 1


# 8: whose address is seen


@as_kube_proxy
async def test_hairpin_masquerade_and_source_kept(lab: Lab, mode: str) -> None:
    own = await ask(lab, "pod/alone", await cluster_ip(lab, "alone"), 80)
    assert own["pod"] == "alone" and own["client"].rpartition(":")[0].strip("[]") != own["podIP"]
    [asker] = await lab.get("Pod", "asker")
    seen = await seen_as(lab, "pod/asker", await cluster_ip(lab, "alone"), 80)
    assert (seen == asker["status"]["podIP"]) == (mode != "userspace")


# 9: near endpoints


@as_kube_proxy
async def test_traffic_distribution_prefers_the_zone_or_the_node(lab: Lab) -> None:
    zone, node = await cluster_ip(lab, "samezone"), await cluster_ip(lab, "samenode")
    assert await who(lab, "pod/neighbour", zone, 80, 10) == {"trio-a"}  # zone a: node1
    assert await who(lab, "pod/asker", zone, 80) == {"trio-b", "trio-c"}  # zone b: node2 and node3
    assert await who(lab, "pod/asker", node, 80, 10) == {"trio-b"}
    assert await who(lab, "pod/far", node, 80, 10) == {"trio-c"}


# 10: change under traffic


@as_kube_proxy
async def test_established_connections_survive_changes_of_endpoints(lab: Lab) -> None:
    loop = asyncio.get_running_loop()
    address = await cluster_ip(lab, "trio")
    with await lab.socket("pod/asker") as sock:
        await loop.sock_connect(sock, (address, 80))

        async def once() -> str:
            await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(15):
                return str(json.loads((await loop.sock_recv(sock, 1 << 16)).partition(b"\r\n\r\n")[2])["pod"])

        pod = await once()
        extra = WORLD_POD.replace("NAME", "trio-d").replace("LABEL", "trio").replace("NODE", "node1")
        await lab.apply(extra, ready=False)
        assert await once() == pod
        others = [p for p in ("trio-a", "trio-b", "trio-c") if p != pod]
        await lab.apply(relabel(await lab.get("Pod", others[0]), "idle"), ready=False)
        await lab.apply(
            relabel(await lab.get("Pod", pod), "idle"), ready=False
        )  # its own endpoint goes, its pod stays
        assert await once() == pod
        assert pod not in await who(lab, "pod/asker", address, 80)
        for changed in (pod, others[0]):
            await lab.apply(relabel(await lab.get("Pod", changed), "trio"), ready=False)
        await lab.delete("Pod", "trio-d")
        assert await once() == pod


WORLD_POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: LABEL}}
spec: {nodeName: NODE, containers: [{name: c, ports: [{containerPort: 8080}]}]}
"""


def relabel(found: list[dict[str, Any]], label: str) -> str:
    [pod] = found
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod["metadata"]["name"], "labels": {"app": label}},
            "spec": {"nodeName": pod["spec"]["nodeName"], "containers": pod["spec"]["containers"]},
        }
    )


async def test_udp_flows_follow_their_endpoints(lab: Lab, mode: str) -> None:
    """One socket, a datagram every 10 ms, while its endpoint goes: what is in flight may be lost, nothing more.

    Three at most are in flight: a machine without time for the endpoint would lose any number that it hasn't read.
    """
    loop = asyncio.get_running_loop()
    address = await cluster_ip(lab, "udp")
    sent: list[int] = []
    back: set[int] = set()
    with (
        await lab.socket("pod/asker", socket.SOCK_DGRAM) as sock,
        await lab.socket("pod/asker", socket.SOCK_DGRAM) as other,
    ):
        await loop.sock_connect(sock, (address, 80))
        before = await flow_of_another_service(lab, other)
        stop = asyncio.Event()

        async def send() -> None:
            last = loop.time()
            while not stop.is_set():
                # Where nothing comes back they are sent all the same, so that the flow can find its way again.
                if len(sent) - 1 - max(back, default=-1) < 3 or loop.time() > last + 0.5:
                    last = loop.time()
                    sent.append(len(sent))
                    with suppress(ConnectionRefusedError):  # the answer to an earlier one
                        await loop.sock_sendall(sock, sent[-1].to_bytes(4, "big"))
                await asyncio.sleep(0.01)

        async def receive() -> None:
            while True:
                try:
                    back.add(int.from_bytes(await loop.sock_recv(sock, 100), "big"))
                except ConnectionRefusedError:
                    continue

        async def answers(number: int) -> None:
            """Returns once so many more datagrams were sent, and the last of them was answered."""
            number += len(sent)

            async def there() -> bool:
                return len(sent) > number and max(back, default=-1) >= number

            await eventually(there)

        tasks = [asyncio.ensure_future(send()), asyncio.ensure_future(receive())]
        await answers(30)

        async def none_is_lost() -> bool:
            return back == set(range(len(back)))

        await eventually(none_is_lost)  # one may overtake another
        serving = "udp-a" if await serves(lab, mode, address) == "udp-a" else "udp-b"
        await lab.delete("Pod", serving)
        await answers(100)
        stop.set()
        await tasks[0]
        tasks[1].cancel()
        assert await tracked(lab, other) == before, "others' flows are none of its business"
    lost = sorted(set(range(max(back))) - back)
    assert len(lost) <= 5, f"{len(lost)} of {len(sent)} lost: {lost}"


async def flow_of_another_service(lab: Lab, sock: socket.socket) -> list[str]:
    """Begins one that no endpoint's end is to touch, and that the kernel doesn't forget by itself meanwhile."""
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (await cluster_ip(lab, "web"), 80))
    await loop.sock_sendall(sock, b"hello")
    async with asyncio.timeout(15):
        assert await loop.sock_recv(sock, 100) == b"hello"
    await output(lab, "node2", "conntrack", "-U", *flow_of(sock), "--timeout", "600")
    return await tracked(lab, sock)


async def tracked(lab: Lab, sock: socket.socket) -> list[str]:
    """Where node2's kernel sends what comes from a socket, and where it expects its answers from."""
    [line] = await conntrack(lab, "node2", *flow_of(sock))
    return re.findall(r"(?:src|dst|sport|dport)=\S+", line)


def flow_of(sock: socket.socket) -> tuple[str, ...]:
    address, port, *_ = sock.getsockname()
    return (*tracking(address), "-p", "udp", "--orig-src", address, "--orig-port-src", str(port))


def tracking(address: str) -> tuple[str, ...]:
    """What tells conntrack(8) whose connections are meant."""
    return ("-f", "ipv6") if ":" in address else ()


@pytest.mark.parametrize(
    ("source", "address", "port"), [("pod/asker", "192.0.2.82", 80), ("office", NODE3, 30083)]
)
async def test_a_udp_flow_follows_its_service(lab: Lab, source: str, address: str, port: int, at: At) -> None:
    """One socket all the time: before there is the Service, with an endpoint, with another port of
    it, when the last one is gone, and again."""
    loop = asyncio.get_running_loop()
    [west] = await lab.get("Pod", "west")
    exposed = service(
        "lasting",
        f"{{type: NodePort, externalIPs: ['{at('192.0.2.82')}'], "
        "ports: [{port: 80, protocol: UDP, nodePort: 30083}]}",
    )
    slices = f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: lasting-1, labels: {{kubernetes.io/service-name: lasting}}}}
addressType: {at.family.name}
ports: [{{protocol: UDP, port: 9091}}]
endpoints: [{{addresses: ['{west["status"]["podIP"]}']}}]
"""
    with await lab.socket(source, socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (at(address), port))

        number = itertools.count(1)

        async def once() -> str:
            question = str(next(number))  # an answer may be late
            try:
                async with asyncio.timeout(0.2):
                    await loop.sock_sendall(sock, question.encode())
                    while (await loop.sock_recv(sock, 100)).decode() != question:
                        pass
                    return "answered"
            except TimeoutError:
                return ""
            except ConnectionRefusedError:
                return "refused"

        async def answered() -> bool:
            return await once() == "answered"

        async def unanswered() -> bool:
            return "answered" not in [await once() for _ in range(5)]

        async def refused() -> bool:
            return await once() == "refused"

        assert await unanswered()
        await lab.apply(slices + "---" + exposed, ready=False)
        await eventually(answered)
        await lab.apply(slices.replace("9091", "9099"), ready=False)  # the endpoint has another port
        await eventually(unanswered)
        await lab.apply(slices, ready=False)
        await eventually(answered)
        await lab.delete("EndpointSlice", "lasting-1")
        await eventually(refused)
        await lab.apply(slices, ready=False)
        await eventually(answered)
        await lab.delete("EndpointSlice", "lasting-1")
        await lab.delete("Service", "lasting")


async def serves(lab: Lab, mode: str, address: str) -> str:
    """The pod that has the flow to this address."""
    if mode == "userspace":
        return "udp-a"
    lines = [
        x
        for x in await conntrack(lab, "node2", *tracking(address), "-p", "udp", "--orig-dst", address)
        if "src=" in x
    ]
    [pod] = await lab.get("Pod", "udp-a")
    return "udp-a" if any(f"src={pod['status']['podIP']} " in line for line in lines) else "udp-b"


async def test_changing_one_service_takes_little_time(lab: Lab, mode: str) -> None:
    """A sanity check, no benchmark: a change of endpoints is there soon after being asked for."""
    soon = 90 if mode in VIRTUAL else 10  # every instruction is emulated where that is tested
    begun = time.monotonic()
    pod = WORLD_POD.replace("NAME", "quick").replace("LABEL", "quick").replace("NODE", "node3")
    await lab.apply(pod, ready=False)
    address = await cluster_ip(lab, "quick")

    async def there() -> bool:
        try:
            return await who(lab, "pod/asker", address, 80, 1) == {"quick"}
        except ConnectionRefusedError:
            return False

    await eventually(there, soon)
    assert time.monotonic() - begun < soon
