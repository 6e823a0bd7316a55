"""Traces in IPv6, and in worlds of both families, of real packets: all that a lab does for one, in this process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest
from familyworlds import planned_with_objects
from namespaces import isolated

from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.kinds.registry import SERVICE
from emulab.lab.hosts.recordings import RecordListener
from emulab.lab.supervisor.observation import Observation
from emulab.lab.supervisor.operations import Operations
from emulab.model.addresses import IPAddress, parse_socket_name, socket_name
from emulab.model.families import IPV4, IPV6, Family, family_of, first
from emulab.observe.path import Path
from emulab.observe.story import tell
from emulab.trace import tracing
from emulab.trace.tracing import TracedRequest

BOTH = [(IPV6,), (IPV4, IPV6)]
IDS = ["6", "4-6"]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
NAME = "traced.test"


class Recordings:
    """The recordings of a lab that has no servers."""

    async def record(self) -> RecordListener:
        return RecordListener(1, None)

    async def records(self, _: RecordListener) -> list[dict[str, Any]]:
        return []

    async def stop_recording(self, _: RecordListener) -> None:
        pass


class Client:
    """What a lab answers to a trace, for a world in this process; requests and results are JSON on their way."""

    def __init__(self, around: Any) -> None:
        self._operations = Operations(around, cast(Any, None), cast(Any, None), 1, lambda: None, lambda: None)
        self._around = around
        self._observation: Observation | None = None

    def request_descriptors(self, op: str, **arguments: Any) -> tuple[Any, list[int]]:
        request = json.loads(json.dumps(arguments))
        if op == "socket":
            return None, [self._operations.open_sockets(request)[0].detach()]
        assert op == "observe"
        if self._observation is None:
            self._observation = Observation(self._around)
            result, descriptors = asyncio.run(self._observation.begin(request))
            return json.loads(json.dumps(result)), descriptors
        return None, [self._observation.open_socket(request).detach()]

    def request(self, op: str, **arguments: Any) -> Any:
        request = json.loads(json.dumps(arguments))
        if op == "resolver-files":
            answer = asyncio.run(self._operations.resolver_files(request, lambda _: None))
        else:
            assert self._observation is not None
            asking = self._observation.explain(request) if request else self._observation.records()
            answer = asyncio.run(asking)
        return json.loads(json.dumps(answer))

    def request_socket(self, **arguments: Any) -> socket.socket:
        _, (fd,) = self.request_descriptors("socket", **arguments)
        return socket.socket(fileno=fd)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self._observation is not None:
            asyncio.run(self._observation.close())


class Lab:
    """A world in the kernel, with pods that answer on port 8080."""

    def __init__(self, *families: Family) -> None:
        self.objects, self.world = planned_with_objects(*families)
        self.kernel = KernelNetwork()
        self.kernel.apply(self.world.network)
        self._around = SimpleNamespace(
            world=self.world,
            handles=self.kernel.handles,
            servers=SimpleNamespace(recordings=Recordings()),
            store=SimpleNamespace(objects=lambda: self.objects, get=self.objects.get),
        )
        tracing.LabClient = lambda _: Client(self._around)  # type: ignore[assignment,misc]
        self.pods = sorted(name for name in self.world.places if name.startswith("shop.web-"))
        for pod in self.pods:
            for family in families:
                threading.Thread(target=self._serve, args=(pod, family), daemon=True).start()

    def _serve(self, pod: str, family: Family) -> None:
        with netns.inside(self.fd(pod), lambda: socket.socket(family.number)) as listening:
            if family is IPV6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((str(family.any), 8080))
            listening.listen()
            while True:
                sock, _ = listening.accept()
                with sock:
                    sock.recv(4096)
                    sock.sendall(ANSWER)

    def fd(self, place: str) -> int:
        return self.kernel.handles[self.world.places[place].namespace].fd

    def own(self, place: str, family: Family) -> IPAddress:
        found = first(self.world.places[place].addresses, family)
        assert found is not None
        return found

    def trace(self, source: str, address: IPAddress, target: str, timeout: float = 5.0) -> Path:
        """A trace of a request to a name that is in the place's /etc/hosts with this address."""
        place = self.world.places[source]
        hosts = f"{place.hosts}{address}\t{NAME}\n"
        places = cast(dict[str, Any], self.world.places)
        places[source] = replace(place, hosts=hosts)
        try:
            asked = TracedRequest("lab", target.format(NAME), source, "default", "GET", {}, timeout, True)
            recording, sightings = asked.record()
            return tell(recording, sightings=sightings)
        finally:
            places[source] = place


def cluster_ip(lab: Lab, name: str, family: Family) -> IPAddress:
    (service,) = (o for o in lab.objects.kind(SERVICE) if o.name == name)
    return next(a for a in map(ip_address, service.spec["clusterIPs"]) if family_of(a) is family)


def elsewhere(lab: Lab, source: str) -> str:
    """A pod on another node."""
    nodes = {o.name: o.spec["nodeName"] for o in lab.objects if o.kind == "Pod"}
    return next(p for p in lab.pods if nodes[p.partition(".")[2]] != nodes[source.partition(".")[2]])


@pytest.mark.privilege
@pytest.mark.parametrize("families", BOTH, ids=IDS)
@isolated
def test_a_request_is_followed_through_the_overlay(families: tuple[Family, ...]) -> None:
    lab = Lab(*families)
    source = lab.pods[0]
    target = elsewhere(lab, source)
    for family in families:
        path = lab.trace(source, lab.own(target, family), "http://{}:8080/hello")
        assert path.status == 200 and path.failure is None and not path.notes
        assert path.places[0] == source and path.places[-1] == target and len(path.places) == 4
        sent = path.first(event="send")
        assert sent.destination == socket_name(lab.own(target, family), 8080)
        assert (parse_socket_name(sent.source) or ("",))[0] == str(lab.own(source, family))
        outer = path.first(event="encapsulate").encapsulation
        assert outer is not None and family_of(ip_address(outer.outer_source)) is family
        assert [h.detail for h in path.all(place=target, event="deliver")][:2] == ["TCP SYN", "GET /hello"]
        gateway = {IPV4: "169.254.1.1", IPV6: "fe80::1"}[family]
        assert sent.route == f"default via {gateway} dev eth0 onlink"


@pytest.mark.privilege
@pytest.mark.parametrize("families", BOTH, ids=IDS)
@isolated
def test_a_service_is_told_with_its_rule_and_its_object(families: tuple[Family, ...]) -> None:
    lab = Lab(*families)
    source = lab.pods[0]
    for family in families:
        vip = cluster_ip(lab, "plain", family)
        path = lab.trace(source, vip, "http://{}/hello")
        assert path.status == 200 and path.failure is None and not path.notes
        dnat = path.first(event="dnat")
        assert dnat.destination == socket_name(vip, 80)
        assert dnat.rule.startswith(f"{family.nft} kube-proxy cluster-tcp-3: dnat {family.nft} to")
        assert dnat.object.startswith("Service shop/plain port 80 → pod shop/web-")
        assert dnat.conntrack is not None and socket_name(vip, 80) in dnat.conntrack["before"]
        assert any("translated back by conntrack" in h.detail for h in path.hops)
        nobody = lab.trace(source, cluster_ip(lab, "nobody", family), "http://{}/")
        assert nobody.failure is not None and nobody.failure.reason == "no-endpoints"
        unused = lab.trace(source, vip, "http://{}:81/")
        assert unused.failure is not None and unused.failure.reason == "no-such-port"


@pytest.mark.privilege
@pytest.mark.parametrize("families", BOTH, ids=IDS)
@isolated
def test_failures_are_told_alike_in_each_family(families: tuple[Family, ...]) -> None:
    lab = Lab(*families)
    source, target = lab.pods[0], elsewhere(lab, lab.pods[0])
    for family in families:
        to = lab.own(target, family)
        closed = lab.trace(source, to, "http://{}:81/").failure
        assert closed is not None and (closed.reason, closed.place) == ("closed-port", target)
        datagram = lab.trace(source, to, "udp://{}:9").failure
        assert datagram is not None and (datagram.reason, datagram.place) == ("closed-port", target)
        lab.kernel.nft(lab.world.places[target].namespace).run(
            f"add table {family.nft} mine\n"
            f"add chain {family.nft} mine in {{ type filter hook input priority 0; }}\n"
            f"add rule {family.nft} mine in {family.nft} saddr {lab.own(source, family)} tcp dport 8080 drop\n"
        )
        dropped = lab.trace(source, to, "http://{}:8080/", timeout=0.5).failure
        assert dropped is not None and (dropped.reason, dropped.place) == ("rule", target)
        assert dropped.remedy.endswith(f"nft delete rule {family.nft} mine in handle 2")
        # In the vpc, where nobody has the address and a place asks for it by itself.
        unused = lab.own("office", family) + 7
        lost = lab.trace("office", unused, "http://{}/").failure
        assert lost is not None and (lost.reason, lost.place) == ("arp", "office")
        assert f"office asked by {family.discovery} on eth0 for {unused}, and nobody answered" in lost.text
