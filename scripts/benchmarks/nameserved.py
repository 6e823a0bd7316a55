"""Loads name servers in turn for `scripts/bench dns`: prints their figures, as JSON.

    python -m benchmarks.nameserved ROUNDS SECONDS PART,…

In a network namespace that may be spoilt. The result has, by figure and side, a value for each round.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dnslib

from benchmarks.loads import run
from benchmarks.nameservers import (
    ADDRESSES,
    DNSMASQ,
    EMULAB,
    UNBOUND,
    UPSTREAM,
    NameServerSide,
    OwnServer,
    at,
    listeners,
    plain,
    sides,
    wait,
)
from benchmarks.proxied import memory_of
from emulab.bench.processors import used
from emulab.bench.turns import order
from emulab.servers.dns.config import (
    DnsConfig,
    Kubernetes,
    NamedEndpoint,
    NamedPort,
    ServiceNames,
    SliceNames,
    ZoneConfig,
    ZoneRecord,
)

NAMES = 1000
MANY = 10_000
CLIENTS, OUTSTANDING = 10, 100
CALM = 10_000  # queries a second for the latencies, which every side can do
CHANGES = 20
PARTS = ("cached", "zones", "cluster", "many")
Figures = dict[str, dict[str, list[float]]]


def main(rounds: int, seconds: int, parts: Sequence[str]) -> Figures:
    """Measures."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*ADDRESSES.values(), UPSTREAM):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="emulab-bench-") as name:
        folder = Path(name)
        for part in parts:
            if part != "many":
                _beside(part, rounds, seconds, folder, figures)
        if "many" in parts:
            _many(figures)
    return figures


def _beside(part: str, rounds: int, seconds: int, folder: Path, figures: Figures) -> None:
    configs, names = SCENES[part]()
    questions = folder / "questions"
    questions.write_text("".join(f"{name} A\n" for name in names))
    upstream = OwnServer(_zones(listeners(UPSTREAM)), -1)
    there = sides(configs, folder, names[0])
    try:
        for side in there:
            _load(side, questions, 1)
        for number in range(rounds):
            for side in order(there, number):
                before = used(side.server.pid)
                rate, lost, queries = _load(side, questions, seconds)
                spent = (used(side.server.pid) - before) / 1e3
                figures[part][side.name].append(rate)
                figures[f"{part} lost"][side.name].append(lost)
                figures[f"{part} CPU"][side.name].append(spent / queries)
                figures[f"{part} p99"][side.name].append(_latency(side, questions))
    finally:
        for side in there:
            side.server.stop()
        upstream.stop()


def _load(side: NameServerSide, questions: Path, seconds: int) -> tuple[float, float, int]:
    """Answers a second, queries that were lost, and all queries. Exits when a name isn't there."""
    load = [f"-c{CLIENTS}", f"-q{OUTSTANDING}", f"-l{seconds}"]
    output = run(["dnsperf", "-s", side.address, "-d", str(questions), *load])
    if not re.search(r"Response codes: +NOERROR \d+ \(100\.00%\)\n", output):
        sys.exit(output)
    return (
        _number(r"Queries per second: +([0-9.]+)", output),
        _number(r"Queries lost: +(\d+)", output),
        int(_number(r"Queries completed: +(\d+)", output)),
    )


def _latency(side: NameServerSide, questions: Path) -> float:
    """The 99th percentile of the time that an answer takes, in µs, where there is no queue of queries."""
    calm = [f"-c{CLIENTS}", f"-q{OUTSTANDING}", "-l1", f"-Q{CALM}", "-v"]
    output = run(["dnsperf", "-s", side.address, "-d", str(questions), *calm])
    taken = sorted(float(found) for found in re.findall(r"^> \S+ .* ([0-9.]+)$", output, re.MULTILINE))
    return taken[len(taken) * 99 // 100] * 1e6


def _number(pattern: str, output: str) -> float:
    match = re.search(pattern, output)
    assert match, output
    return float(match[1])


# --- what is asked of whom ----------------------------------------------------------------------------------------


def _zones(listen: tuple[str, ...]) -> DnsConfig:
    records = tuple(
        ZoneRecord(f"n{i}.shop.test.", "A", f"10.1.{i >> 8}.{i & 255}", 3600) for i in range(NAMES)
    )
    return DnsConfig(listen, (ZoneConfig("shop.test.", records),), recursion=False)


Scene = tuple[dict[str, DnsConfig], list[str]]


def _cached() -> Scene:
    config = plain(DnsConfig((), forward=(f"{UPSTREAM}:53",), recursion=True))
    return {name: at(config, name) for name in ADDRESSES}, [f"n{i}.shop.test" for i in range(NAMES)]


def _authoritative() -> Scene:
    config = plain(_zones(()))
    return {name: at(config, name) for name in ADDRESSES}, [f"n{i}.shop.test" for i in range(NAMES)]


def _cluster() -> Scene:
    """Names of Services: the others have them as records."""
    own = cluster(NAMES, listeners(ADDRESSES[EMULAB]))
    domain = "default.svc.cluster.local"
    records = tuple(ZoneRecord(f"s{i}.{domain}.", "A", _address(i), 5) for i in range(NAMES))
    others = plain(DnsConfig((), (ZoneConfig("cluster.local.", records),)))
    configs = {EMULAB: own, DNSMASQ: at(others, DNSMASQ), UNBOUND: at(others, UNBOUND)}
    return configs, [f"s{i}.{domain}" for i in range(NAMES)]


SCENES = {"cached": _cached, "zones": _authoritative, "cluster": _cluster}


def _address(number: int) -> str:
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def cluster(number: int, listen: tuple[str, ...]) -> DnsConfig:
    """A cluster's DNS with so many Services of three endpoints."""
    ports = (NamedPort("http", "TCP", 80),)
    services = {f"default/s{i}": _service(i, ports) for i in range(number)}
    slices = {
        f"default/s{i}/s{i}-0": SliceNames(
            tuple(NamedEndpoint("", f"10.244.{i % 250}.{k + 2}", True) for k in range(3)),
            ports,
        )
        for i in range(number)
    }
    told = Kubernetes("cluster.local.", ("default", "kube-system"), services, slices)
    return DnsConfig(listen, kubernetes=told, forward=(f"{UPSTREAM}:53",), recursion=True)


def _service(number: int, ports: tuple[NamedPort, ...], address: str = "") -> ServiceNames:
    return ServiceNames("default", f"s{number}", (address or _address(number),), ports=ports)


# --- many Services ------------------------------------------------------------------------------------------------


def _many(figures: Figures) -> None:
    """Begins with 10,000 Services, and changes one and another of them."""
    listen = listeners(ADDRESSES[EMULAB])
    server = OwnServer(cluster(1, listen))
    config = cluster(MANY, listen)  # not before the server is forked, with which we would share its pages
    wait(ADDRESSES[EMULAB], "s0.default.svc.cluster.local")
    try:
        begun, spent = time.perf_counter(), used(server.pid)
        server.change(replace(config, cache=replace(config.cache, size=9999)))  # told whole
        _until(f"s{MANY - 1}.default.svc.cluster.local", _address(MANY - 1))
        figures["many begun"][EMULAB].append(1e3 * (time.perf_counter() - begun))
        figures["many begun CPU"][EMULAB].append((used(server.pid) - spent) / 1e6)
        config = server.config
        for number in range(CHANGES):
            told = config.kubernetes
            assert told is not None
            address, key = f"10.111.0.{number + 1}", f"default/s{number}"
            services = {**told.services, key: _service(number, (), address)}
            wanted = replace(config, kubernetes=replace(told, services=services))
            begun = time.perf_counter()
            server.change(wanted)
            _until(f"s{number}.default.svc.cluster.local", address)
            figures["many changed"][EMULAB].append(1e3 * (time.perf_counter() - begun))
            config = wanted
        figures["many memory"][EMULAB].append(memory_of(server.pid) / 1e6)
    finally:
        server.stop()


def _until(name: str, address: str) -> None:
    while True:
        reply = dnslib.DNSRecord.parse(dnslib.DNSRecord.question(name).send(ADDRESSES[EMULAB], timeout=10))
        if [str(rr.rdata) for rr in reply.rr] == [address]:
            return


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))))
