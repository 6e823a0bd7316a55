"""That traces are true: independent captures agree with them, nobody else's packets are in them, nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path as FilePath

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program
from emulab.observe.path import Hop, Path

from .failing import pod
from .test_ingress import certificate, secret
from .tools import NODE2, PROGRAMS, PYTHON, all_healthy, cluster_ip, eventually, name, output
from .tools import emulab as cli
from .tracing import (
    INCOMING,
    OUTGOING,
    WORLD,
    Sighting,
    assert_sound,
    read_pcap,
    same_packets,
    traced,
    watched,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTSIDE = "198.51.100.3"
CLOSE = 50_000
"""Nanoseconds between the stamps that two taps give one packet."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    pair = certificate(tmp_path_factory.mktemp("tls"), "secure.trace.test")
    async with Lab.from_text(WORLD, secret("secure-tls", pair)) as made:
        await all_healthy(made)
        yield made


# Independent captures


async def test_independent_captures_agree(lab: Lab, tmp_path: FilePath) -> None:
    """A capture in every namespace has seen what the traces tell, all of it and nothing else, at the same times."""
    services = {name: await cluster_ip(lab, name) for name in ("one", "two")}
    wanted = [
        ("client", "http://plain.trace.test/two/first"),
        ("client", "http://plain.trace.test/two/again"),
        ("client", "https://secure.trace.test/"),
        ("client", f"http://{NODE2}:30080/"),
        ("client", "edge.default.lb.test:8000/udp"),
        ("pod/asker", "http://two/"),
        ("pod/asker", f"{services['two']}:80/udp"),
        ("pod/one", f"http://{services['one']}/"),
        ("node1", f"http://{services['two']}/bytes/100000"),
        ("pod/asker", f"{OUTSIDE}:8080"),
    ]
    paths: list[tuple[Path, FilePath]] = []
    server = asyncio.ensure_future(lab.exec("outside", PYTHON, str(PROGRAMS / "mirror.py"), "8080"))
    async with watched(lab, tmp_path, "outside", "lb-default-edge") as watch:
        for number, (source, url) in enumerate(wanted):
            file = tmp_path / f"trace-{number}.pcapng"
            path = await traced(lab, url, source, every_packet=True, pcap=file)
            assert path.failure is None and path.notes == []
            paths.append((path, file))
    server.cancel()
    await asyncio.gather(server, return_exceptions=True)
    captured = await watch.packets()
    apart = [time for path, file in paths for time in assert_agrees(path, await read_pcap(file), captured)]
    # The processor may be taken away between the two stamps of a packet, which then is late by a slice of time.
    assert len(apart) > 700 and len([t for t in apart if t > CLOSE]) <= 3, sorted(apart)[-10:]


def assert_agrees(path: Path, own: Sequence[Sighting], captured: Sequence[Sighting]) -> list[int]:
    """Hop by hop: the trace's hops are the packets of its capture file, and those of the independent captures.

    Returns by how many nanoseconds the stamps of each differ.
    """
    told = located(path, own)
    assert len(set(told)) == len(told)
    flows = {s.flow for s in told}
    begin, end = min(s.time for s in told), max(s.time for s in told)
    file = [
        s for s in same_packets(flows, own) if begin <= s.time <= end
    ]  # so its tcp and udp packets: no other
    assert Counter(own) == Counter(file) == Counter(told)
    seen = [s for s in same_packets(flows, captured) if begin - CLOSE <= s.time <= end + CLOSE]
    ours, theirs = by_place(told), by_place(seen)
    missing = {k: len(v) for k, v in theirs.items() if len(v) > len(ours.get(k, ()))}
    invented = {k: len(v) for k, v in ours.items() if len(v) > len(theirs.get(k, ()))}
    assert not missing and not invented, (path.url, missing, invented)
    return [abs(a - b) for k, times in ours.items() for a, b in zip(times, theirs[k], strict=True)]


def by_place(found: Sequence[Sighting]) -> dict[tuple[object, ...], list[int]]:
    """Times, in order, by all that a packet is besides."""
    times: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for packet in sorted(found):
        times[packet.where].append(packet.time)
    return times


def located(path: Path, own: Sequence[Sighting]) -> list[Sighting]:
    """The packet of the capture file that each hop tells of."""
    hops = [h for h in path.hops if h.event in OUTGOING | INCOMING]
    found: dict[tuple[object, ...], list[Sighting]] = defaultdict(list)
    for packet in own:
        found[packet[1:6]].append(packet)
    start = min(p.time for p in found[where(hops[0])]) - round(hops[0].time * 1000)
    told = []
    for hop in hops:
        assert hop.packets == 1
        near = [
            p for p in found[where(hop)] if abs(p.time - start - round(hop.time * 1000)) <= 100
        ]  # 0.1 µs, rounded
        assert len(near) == 1, (hop, near)
        told += near
    return told


def where(hop: Hop) -> tuple[object, ...]:
    """As in the fields of a Sighting between its time and what it is."""
    e = hop.encapsulation
    outer = (e.outer_source, e.outer_destination, str(e.vni)) if e else None
    return hop.place, hop.interface, hop.event in OUTGOING, (hop.protocol, hop.source, hop.destination), outer


# One's own request alone


@pytest_asyncio.fixture(loop_scope="module")
async def load(shop: Lab, tmp_path: FilePath) -> AsyncIterator[None]:
    """200 connections through the same path, on each of which a request comes 20 ms after the last answer.

    Without a pause there would be as many as the machine can do, and nobody left who looks at them.
    """
    script, url = tmp_path / "pause.lua", "http://shop.example.com/products/others"
    script.write_text("function delay() return 20 end\n")
    wrk = ("wrk", "-c", "200", "-t", "1", "-d", "600s", "-s", str(script), url)
    work = asyncio.ensure_future(shop.exec("client", *wrk))

    async def busy() -> bool:
        return bool((await shop.server_status("public-lb"))["connections"] >= 200)

    await eventually(busy)
    yield
    assert not work.done(), "the load ended before the test did"
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def assert_own(path: Path, mark: str) -> None:
    """All requests in a trace are its own."""
    asked = {h.detail.split("GET ")[1].split(",")[0] for h in path.hops if "GET " in h.detail}
    assert asked == {f"/products/42?{mark}"}
    assert len({h.source for h in path.all(connection=1, direction="request")}) == 1


def assert_alone(path: Path, mark: str) -> None:
    """All requests in a trace are its own, at each place of the whole path, and so are the answers."""
    assert path.status == 200 and path.failure is None and path.notes == [], (path.failure, path.notes)
    assert_own(path, mark)
    asked = [h for h in path.hops if "GET " in h.detail]
    assert {h.connection for h in asked} == {1, 2, 3}
    assert dict.fromkeys(h.place for h in asked).keys() == dict.fromkeys(path.places).keys()
    for connection in (1, 2, 3):
        there = [h for h in asked if h.connection == connection]
        back = [h for h in path.hops if "HTTP 200 OK" in h.detail and h.connection == connection]
        assert (there[0].event, there[-1].event, back[0].event, back[-1].event) == ("send", "deliver") * 2
        assert (back[0].place, back[-1].place) == (there[-1].place, there[0].place)
        assert len({h.source for h in there if h.place == there[0].place}) == 1
    assert path.places[0] == "client" and path.places[-1].startswith("default.product-")
    assert [h.place for h in path.all(event="proxy-connect")] == [
        h.place for h in path.all(event="proxy-accept")
    ]


async def test_others_are_not_in_a_trace(shop: Lab, load: None, tmp_path: FilePath) -> None:
    """With 200 other connections on the same path, a trace is its own request, whole and alone; so is its file.

    A machine that has no time for us at all may lose packets. That is said, and nobody else's take their place.
    """
    whole = 0
    for number in range(60):
        file = tmp_path / f"{number}.pcapng"
        mark = f"alone-{number}"
        url = f"http://shop.example.com/products/42?{mark}"
        path = await shop.trace(url, every_packet=True, pcap=file, timeout=60)
        assert_own(path, mark)
        own = await read_pcap(file)
        assert Counter(own) == Counter(located(path, own))
        if not path.notes:
            assert_sound(path)
            assert_alone(path, mark)
            whole += 1
        if whole == 2:
            return
    raise AssertionError(f"only {whole} of 60 traces saw everything: {path.notes}")


async def test_traces_at_once_do_not_mix(shop: Lab) -> None:
    """Five traces of the same path at the same time: five requests, five clients, each with its own story."""
    marks = [f"at-once-{n}" for n in range(5)]
    paths = await asyncio.gather(*(traced(shop, f"http://shop.example.com/products/42?{m}") for m in marks))
    for path, mark in zip(paths, marks, strict=True):
        assert_alone(path, mark)
    clients = [{h.source for h in p.all(connection=1, direction="request")} for p in paths]
    assert all(len(c) == 1 for c in clients) and len(set.union(*clients)) == 5


async def test_pods_may_come_and_go_meanwhile(lab: Lab) -> None:
    """Their namespaces are watched like all others, and may be taken away at any moment."""
    done = asyncio.Event()

    async def churn(number: int) -> int:
        count = 0
        while not done.is_set():
            called = f"passing-{number}-{count}"
            await lab.apply(pod(called, "passing", node=f"node{number}"), ready=False)
            await lab.delete("Pod", called)
            while await lab.get("Pod", called, "default"):
                await asyncio.sleep(0.02)
            count += 1
        return count

    churning = [asyncio.ensure_future(churn(number)) for number in (1, 2)]
    try:
        for number in range(25):
            path = await traced(lab, f"http://plain.trace.test/two?{number}")
            assert (path.status, path.failure) == (200, None), path.failure
    finally:
        done.set()
        counts = await asyncio.gather(*churning)
    assert min(counts) > 0


# Nothing is left


async def supervisor(lab: Lab) -> FilePath:
    """/proc/PID of a lab's supervisor."""
    [found] = [x for x in json.loads((await cli("labs", "-o", "json")).stdout) if x["name"] == lab.name]
    return FilePath("/proc", str(found["pid"]))


def open_files(process: FilePath) -> int:
    return len(os.listdir(process / "fd"))


async def files_at_rest(process: FilePath) -> int:
    """How many it has open when it has let go of those whose ends it was about to hear of."""
    counts = []
    for _ in range(25):
        counts.append(open_files(process))
        await asyncio.sleep(0.02)
    return min(counts)


def resident(process: FilePath) -> int:
    """KiB of memory."""
    [line] = [x for x in (process / "status").read_text().splitlines() if x.startswith("VmRSS:")]
    return int(line.split()[1])


async def servers(lab: Lab) -> list[str]:
    """Those whose records traces are made of."""
    found = ["public-lb", "resolver", "dns", "stand-ins"]
    for namespace, container in (("ingress-nginx", "controller"), ("kube-system", "coredns")):
        for found_pod in await lab.get("Pod", namespace=namespace):
            found.append(f"{namespace}.{name(found_pod)}/{container}")
    return found


async def traces_of(lab: Lab) -> list[str]:
    """What is switched on for traces at the moment: tables of nftables, and servers that record."""
    found = []
    for place in ("router", "node1", "node2"):
        tables = await output(lab, place, "nft", "list", "tables")
        found += [f"{place}: {t}" for t in tables.splitlines() if "emulab-trace-" in t]
    for server in await servers(lab):
        if (await lab.server_status(server))["recording"]:
            found.append(f"{server} records")
    return found


async def assert_nothing_left(lab: Lab) -> None:
    async def nothing() -> bool:
        return await traces_of(lab) == []

    await eventually(nothing)


async def test_many_traces_leave_nothing(lab: Lab) -> None:
    """No descriptor, thread, rule or record, here or in the supervisor, and no memory that grows."""

    async def many(count: int) -> None:
        for number in range(count):
            assert (await lab.trace(f"http://plain.trace.test/two?{number}")).status == 200

    here, there = FilePath("/proc/self"), await supervisor(lab)
    await many(15)  # what is made once, as code and threads, is there by then
    await assert_nothing_left(lab)
    files = open_files(here), open_files(there)
    grown = []
    # What leaks grows each time; others' packets that the kernel drops are in a trace's memory for a while, too.
    while not grown or (grown[-1] >= 8192 and len(grown) < 3):
        memory = resident(here), resident(there)
        await many(45)
        await assert_nothing_left(lab)
        grown.append(max(resident(here) - memory[0], resident(there) - memory[1]))
    assert grown[-1] < 8192, grown

    async def as_before() -> bool:
        return open_files(here) <= files[0] and open_files(there) <= files[1]

    await eventually(as_before)
    threads = [t.name for t in threading.enumerate()]
    assert not [t for t in threads if t.startswith(("taps", "rings"))], threads


@pytest.mark.privilege
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill-9", "ctrl-c"])
async def test_a_trace_that_is_ended_leaves_nothing(lab: Lab, number: signal.Signals) -> None:
    """In the middle of a trace: what was switched on for it goes off by itself, and Ctrl-C is heard at once."""
    server = asyncio.ensure_future(lab.exec("outside", PYTHON, str(PROGRAMS / "broken.py"), "8082", "hang"))

    async def listening() -> bool:
        return ":8082" in await output(lab, "outside", "ss", "-ltn")

    await eventually(listening)
    there = await supervisor(lab)
    before = await files_at_rest(there)
    command = [*this_program(), "-l", lab.name, "trace", "--timeout", "60s", f"http://{OUTSIDE}:8082/"]
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "PYTHONPATH": import_path()}, stdout=asyncio.subprocess.DEVNULL
    )

    async def waiting() -> bool:
        return f"{OUTSIDE}:8082" in await output(lab, "client", "ss", "-Htn", "state", "established")

    await eventually(waiting)
    on = await traces_of(lab)
    assert {x.partition(":")[0] for x in on} >= {"router", "node1", "node2"} and "public-lb records" in on
    process.send_signal(number)
    async with asyncio.timeout(20):  # it would wait for its answer much longer
        assert await process.wait() == (130 if number == signal.SIGINT else -number)
    await assert_nothing_left(lab)

    async def as_before() -> bool:
        return open_files(there) <= before and not await waiting()

    await eventually(as_before)
    assert (await traced(lab, f"http://{NODE2}:30080/")).status == 200
    server.cancel()
    await asyncio.gather(server, return_exceptions=True)
