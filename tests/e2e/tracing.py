"""What the tests of traces share: what every trace must be, and captures that know nothing of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from emulab import Lab
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program
from emulab.observe.path import EVENTS, Hop, Path

from .tools import AS_ROOT, PROGRAMS, PYTHON, name

WORLD = """
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: outside}
spec: {network: internet}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: partner.test}
spec: {visibility: public, records: [{name: api, type: A, value: 198.51.100.3, ttl: 30}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  nodeName: node1
  containers: [{name: one, ports: [{containerPort: 8080}, {containerPort: 8081, protocol: UDP}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec:
  nodeName: node2
  containers: [{name: two, ports: [{containerPort: 8080}, {containerPort: 8081, protocol: UDP}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  nodeName: node1
  containers: [{name: asker, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: agent, labels: {app: agent}}
spec:
  nodeName: node2
  hostNetwork: true
  containers: [{name: agent, ports: [{containerPort: 9100}]}]
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec:
  selector: {app: one}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: echo, port: 80, protocol: UDP, targetPort: 8081}]
---
apiVersion: v1
kind: Service
metadata: {name: two}
spec:
  selector: {app: two}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: echo, port: 80, protocol: UDP, targetPort: 8081}]
---
apiVersion: v1
kind: Service
metadata: {name: bare}
spec:
  clusterIP: None
  selector: {app: two}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: agent}
spec:
  selector: {app: agent}
  ports: [{name: http, port: 80, targetPort: 9100}]
---
apiVersion: v1
kind: Service
metadata: {name: opened}
spec:
  type: NodePort
  selector: {app: one}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  type: LoadBalancer
  selector: {app: two}
  ports: [{name: http, port: 8000, targetPort: 8080}, {name: echo, port: 8000, protocol: UDP, targetPort: 8081}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec:
  rules:
    - host: plain.trace.test
      http: {paths: [{path: /two, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec:
  tls: [{hosts: [secure.trace.test], secretName: secure-tls}]
  rules:
    - host: secure.trace.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}
"""
"""Pods that stay on their nodes: `one` and `asker` on node1, `two` and, in the host's network, `agent` on node2."""

OUTGOING = frozenset({"send", "forward", "encapsulate"})
INCOMING = frozenset({"receive", "decapsulate", "deliver"})
DECISIONS = frozenset({"dnat", "snat", "drop"})
RECORDS = frozenset({"dns-query", "dns-answer", "proxy-accept", "proxy-connect"})

REQUEST = {"from": str, "url": str, "status": int | None, "duration_us": float}
MORE_REQUEST = {"answered_us": float | None, "failure": dict | None, "tls": dict | None}
HOP = {
    "index": int,
    "time_us": float,
    "delta_us": float,
    "direction": str,
    "place": str,
    "interface": str | None,
    "event": str,
    "protocol": str,
    "source": str,
    "destination": str,
    "encapsulation": dict | None,
    "detail": str,
}
MORE_HOP = {"object": str, "rule": str, "route": str, "conntrack": dict, "connection": int, "packets": int}
ENCAPSULATION = {"type": str, "vni": int, "outer_source": str, "outer_destination": str}
CONNTRACK = {"before": str, "after": str, "answers": str}


async def traced(lab: Lab, url: str, source: str = "client", **options: Any) -> Path:
    """A trace that is sound, see `assert_sound`."""
    options.setdefault("timeout", 60)
    path = await lab.trace(url, source=source, **options)
    assert_sound(path)
    return path


# What holds for every trace


def assert_sound(path: Path) -> None:
    """The shape of the contract, times that add up, and packets that go from place to place in causal order."""
    assert_shape(path)
    assert_times(path)
    for hops in flights(path).values():
        assert_causal(hops)
    for hop in path.hops:
        if hop.event in OUTGOING | INCOMING:
            assert hop.interface and hop.packets >= 1, hop
        elif hop.event in RECORDS:
            assert hop.interface is None and hop.packets == 0, hop


def assert_shape(path: Path) -> None:
    """Section 4 of the contract: its keys come first and in its order; what is added has a name of its own."""
    document = path.to_json()
    assert json.loads(json.dumps(document)) == document
    assert list(document)[:1] == ["request"] and "hops" in document
    assert set(document) <= {"request", "places", "hops", "totals", "notes"}
    _assert_keys(document["request"], REQUEST, MORE_REQUEST)
    for hop in document["hops"]:
        _assert_keys(hop, HOP, MORE_HOP)
        assert hop["event"] in EVENTS and hop["direction"] in ("request", "response"), hop
        if hop["encapsulation"] is not None:
            _assert_keys(hop["encapsulation"], ENCAPSULATION, {})
        if "conntrack" in hop:
            _assert_keys(hop["conntrack"], CONNTRACK, {})


def _assert_keys(found: dict[str, Any], required: dict[str, Any], optional: dict[str, Any]) -> None:
    assert list(found)[: len(required)] == list(required), found
    assert set(found) <= required.keys() | optional.keys(), found
    for key, value in found.items():
        kind: Any = required.get(key, optional.get(key))
        assert isinstance(value, kind) and not isinstance(value, bool), (key, value)


def assert_times(path: Path) -> None:
    """Indexes, times and deltas follow from each other; the totals add up to the whole."""
    assert [h.index for h in path.hops] == list(range(len(path.hops)))
    if not path.hops:
        assert path.duration == 0 and not path.totals
        return
    assert path.hops[0].time == 0
    for before, hop in itertools.pairwise(path.hops):
        assert hop.time >= before.time and abs(hop.delta - (hop.time - before.time)) < 0.01, hop
    assert abs(sum(h.delta for h in path.hops) - path.duration) < 0.5
    assert path.hops[-1].time == path.duration
    totals = path.totals
    spent = totals["dns_us"] + totals["client_us"]
    spent += sum(sum(totals[k].values()) for k in ("kernel_us", "servers_us", "container_us"))
    assert abs(spent - path.duration) <= 1, (totals, path.duration)


def flights(path: Path) -> dict[int, list[Hop]]:
    """The hops that were packets, by flight and in the order of time."""
    found: dict[int, list[Hop]] = defaultdict(list)
    for hop in path.hops:
        if hop.event in OUTGOING | INCOMING:
            found[hop.flight].append(hop)
    return found


def assert_causal(hops: Sequence[Hop]) -> None:
    """A packet leaves a place before it comes to the next, and a place forwards what it has received.

    The hops are in the order of their times, so this fails when the times of a packet run backwards anywhere.
    """
    shown = [(h.time, h.place, h.interface, h.event) for h in hops]
    # What a node's own programs have translated goes back in by its loopback, and wasn't seen before.
    translated = (hops[0].event, hops[0].interface) == ("receive", "lo")
    assert hops[0].event in ("send", "encapsulate") or translated, shown
    for before, hop in itertools.pairwise(hops):
        if before.event in OUTGOING and hop.event == "encapsulate":
            assert hop.place == before.place and hop.encapsulation and not before.encapsulation, shown
        elif before.event in OUTGOING:
            assert hop.event in INCOMING, shown
            assert (hop.place != before.place) != (before.interface == hop.interface == "lo"), shown
            assert (hop.source, hop.destination) == (before.source, before.destination), shown
            assert hop.encapsulation == before.encapsulation, shown
        else:
            assert before.event != "deliver", shown
            assert hop.place == before.place, shown
            if hop.event in ("decapsulate", "deliver"):  # it may be for the node itself
                assert (before.encapsulation and not hop.encapsulation) or hop.interface == "lo", shown
            else:
                assert hop.event == "forward", shown


def way(path: Path, **wanted: Any) -> list[tuple[str, str | None, str]]:
    """Place, interface and event of the hops of the first flight that has a hop like this."""
    flight = path.first(**wanted).flight
    return [(h.place, h.interface, h.event) for h in path.hops if h.flight == flight]


def events(path: Path, **wanted: Any) -> list[str]:
    """What happened, in order, of all hops like this."""
    return [h.event for h in path.all(**wanted)]


def details(path: Path, **wanted: Any) -> list[str]:
    return [h.detail for h in path.all(**wanted)]


def host(endpoint: str) -> str:
    """The address of `10.0.0.1:80` or `[fd00::1]:80`."""
    return endpoint.rpartition(":")[0].strip("[]")


def assert_translated(hop: Hop, before: str, after: str, chain: str, statement: str) -> None:
    """A decision with its evidence: conntrack's entry and the rule that made it. `before` and `after` are
    `ADDRESS → ADDRESS` without ports, or with the port where that matters."""
    assert hop.conntrack is not None, hop
    for text, wanted in ((hop.conntrack["before"], before), (hop.conntrack["after"], after)):
        for end, expected in zip(text.split(" → "), wanted.split(" → "), strict=True):
            assert expected in (end, host(end)), (text, wanted)
    source, destination = hop.conntrack["after"].split(" → ")
    assert hop.conntrack["answers"] == f"{destination} → {source}"
    assert hop.conntrack["before"] == f"{hop.source} → {hop.destination}"
    family = "ip6" if hop.source.startswith("[") else "ip"
    assert hop.rule.startswith(f"{family} {chain}") and statement in hop.rule, hop.rule


# Captures


class Sighting(NamedTuple):
    """A packet at an interface. `what` is what no hop of its way changes: TCP's numbers, or UDP's payload."""

    time: int
    place: str
    interface: str
    outgoing: bool
    flow: tuple[str, str, str]  # protocol, source and destination, `ADDRESS:PORT` each
    outer: tuple[str, str, str] | None
    what: tuple[str, ...]

    @property
    def where(self) -> tuple[Any, ...]:
        """All but the time."""
        return self[1:]


TCPDUMP = (
    *("tcpdump", "-i", "any", "-nn", "-U", "-w", "-", "-Z", "root", "--time-stamp-precision=nano"),
    *(
        "--immediate-mode",
        "-s",
        "2048",
        "-B",
        "8192",
    ),  # its slots have the snapshot's length: 256 KiB by default
)
_FIELDS = (
    *(
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "sll.ifindex",
        "sll.pkttype",
    ),
    *("ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.len"),
    *("udp.srcport", "udp.dstport", "udp.payload", "vxlan.vni", "icmp.type", "frame.comment"),
)
_OUTGOING, _OTHER_HOST = "4", "3"  # kinds of packets in linux/if_packet.h


async def dissect(file: FilePath) -> list[dict[str, list[str]]]:
    """tshark's words on each frame of a capture; of encapsulated headers the outer one comes first."""
    command = [
        "tshark",
        "-n",
        "-r",
        str(file),
        "-d",
        "udp.port==8472,vxlan",
        "-T",
        "fields",
        "-E",
        "separator=/t",
    ]
    command += ["-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE"]
    command += [x for f in _FIELDS for x in ("-e", f)]
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(120):
        out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    rows = (line.split("\t") for line in out.decode().split("\n") if line)
    return [
        {
            f: value.split(",") if f != "frame.comment" else [value]
            for f, value in zip(_FIELDS, row, strict=True)
        }
        for row in rows
    ]


def sighting(frame: dict[str, list[str]], place: str, interface: str, outgoing: bool) -> Sighting | None:
    """A frame as a packet of TCP or UDP; None for anything else."""
    if frame["icmp.type"] != [""]:
        return None
    seconds, _, fraction = frame["frame.time_epoch"][0].partition(".")
    time = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    sources, destinations = frame["ip.src"], frame["ip.dst"]
    outer = (sources[0], destinations[0], frame["vxlan.vni"][0]) if len(sources) > 1 else None
    protocol = "tcp" if frame["tcp.srcport"] != [""] else "udp"
    ports = frame[f"{protocol}.srcport"][-1], frame[f"{protocol}.dstport"][-1]
    if not ports[0]:
        return None
    flow = (protocol, f"{sources[-1]}:{ports[0]}", f"{destinations[-1]}:{ports[1]}")
    if protocol == "tcp":
        what = tuple(frame[f"tcp.{f}"][-1] for f in ("seq_raw", "ack_raw", "flags", "len"))
    else:
        what = (frame["udp.payload"][-1],)
    return Sighting(time, place, interface, outgoing, flow, outer, what)


async def read_pcap(file: FilePath) -> list[Sighting]:
    """The packets of a trace's own capture file."""
    found = []
    for frame in await dissect(file):
        place, _, interface = frame["frame.interface_name"][0].rpartition("/")
        outgoing = {"0x00000001": False, "0x00000002": True}[frame["frame.packet_flags_direction"][0]]
        seen = sighting(frame, place, interface, outgoing)
        if seen is not None:
            found.append(seen)
    return found


@dataclass
class Watch:
    """Captures in every namespace of a lab."""

    folder: FilePath
    indexes: dict[str, dict[str, str]] = field(default_factory=dict)  # by place: names of interfaces

    def file(self, place: str) -> FilePath:
        return self.folder / f"{place}.pcap"

    async def packets(self) -> list[Sighting]:
        """All packets that were seen, once the captures have ended. The order is that of each place's kernel."""
        places = list(self.indexes)
        limit = asyncio.Semaphore(4)

        async def read(place: str) -> list[Sighting]:
            async with limit:
                frames = await dissect(self.file(place))
            names = self.indexes[place]
            found = (
                sighting(f, place, names[f["sll.ifindex"][0]], f["sll.pkttype"][0] == _OUTGOING)
                for f in frames
                if f["sll.pkttype"][0] != _OTHER_HOST
            )
            return [s for s in found if s is not None]

        return [s for found in await asyncio.gather(*map(read, places)) for s in found]


async def places_of(lab: Lab, *more: str) -> dict[str, tuple[str, str]]:
    """Every place with a network of its own, by name: how `exec` reaches it, and in which namespace."""
    found = {
        place: (place, "default") for place in ("client", "resolver", "dns", "router", "public-lb", *more)
    }
    found |= {name(node): (name(node), "default") for node in await lab.get("Node")}
    for pod in await lab.get("Pod"):
        if not pod["spec"].get("hostNetwork"):
            namespace = pod["metadata"]["namespace"]
            place = f"{namespace}.{name(pod)}"  # its network: a container watches no packets
            found[place] = (place, namespace)
    return found


@asynccontextmanager
async def watched(lab: Lab, folder: FilePath, *more: str) -> AsyncIterator[Watch]:
    """Captures every packet of a lab with a program in each namespace, for the duration of the block."""
    watch = Watch(folder)
    places = await places_of(lab, *more)
    async with AsyncExitStack() as ending:
        starts = (_capture(lab, watch, place, *target, ending) for place, target in places.items())
        await asyncio.gather(*starts)
        yield watch


async def _capture(
    lab: Lab, watch: Watch, place: str, target: str, namespace: str, ending: AsyncExitStack
) -> None:
    tap = TCPDUMP if AS_ROOT else [PYTHON, str(PROGRAMS / "tap_all.py")]
    script = 'ip -j link; echo; exec "$@"'
    enter = [*this_program(), "-l", lab.name, "exec", target, "-n", namespace, "--"]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    process = await asyncio.create_subprocess_exec(
        *enter, "sh", "-c", script, "sh", *tap, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment
    )
    assert process.stdout is not None and process.stderr is not None
    errors = process.stderr
    writing: asyncio.Task[None] | None = None

    async def end() -> None:
        if process.returncode is None:
            process.terminate()
        _, said = await process.communicate() if writing is None else (b"", await errors.read())
        if writing is not None:
            await writing
            assert b"packets captured" not in said or b"\n0 packets dropped by kernel" in said, said.decode()
        await process.wait()

    ending.push_async_callback(end)
    async with asyncio.timeout(120):
        links = json.loads(await process.stdout.readline())
        watch.indexes[place] = {str(link["ifindex"]): link["ifname"] for link in links}
        assert await process.stdout.readline() == b"\n"
        said = b""
        while b"listening on" not in said:
            chunk = await process.stderr.read(4096)
            assert chunk, f"{place}: {said.decode()}"
            said += chunk
    writing = asyncio.ensure_future(_write(process.stdout, watch.file(place)))


async def _write(stream: asyncio.StreamReader, file: FilePath) -> None:
    with file.open("wb") as target:
        while chunk := await stream.read(1 << 16):
            target.write(chunk)


def same_packets(flows: Collection[tuple[str, str, str]], found: Iterable[Sighting]) -> list[Sighting]:
    """Of what was seen, the packets of these flows, and whatever else is the same packet under other addresses."""
    found = list(found)
    known = {s.what for s in found if s.flow in flows}
    return [s for s in found if s.what in known]
