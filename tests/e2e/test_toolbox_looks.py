"""What looks on in a lab, beside tcpdump, tshark, ss, conntrack, traceroute, tracepath, ip and Graphviz; and what
people have at hand, which works in places as ever."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import pytest_asyncio

from emulab import Lab, UserError
from emulab.kernel.processes.programs import run_program, this_program

from .tools import (
    AS_ROOT,
    NODE2,
    TOPOLOGIES,
    capture,
    cluster_ip,
    connect,
    conntrack,
    emulab,
    eventually,
    name,
    output,
    pods,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "http://shop.example.com/products/42"
SVG = "{http://www.w3.org/2000/svg}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "shop.yaml", name=f"e2e-{os.getpid()}-looks") as made:
        yield made


async def asked(lab: Lab, *words: str, status: int = 0) -> str:
    """What a command prints."""
    done = await emulab("-l", lab.name, *words)
    assert done.status == status, (words, done)
    return done.text


class Running:
    """A command that goes on, and the lines that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    @classmethod
    async def begin(cls, lab: Lab, *words: str) -> Running:
        command = [*this_program(), "-l", lab.name, *words]
        return cls(await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1))

    async def until(self, pattern: str) -> str:
        """The first line that matches."""
        assert self.process.stdout is not None
        async with asyncio.timeout(120):
            while line := (await self.process.stdout.readline()).decode().rstrip():
                self.lines.append(line)
                if re.search(pattern, line):
                    return line
        raise AssertionError(f"{pattern} isn't in {self.lines}")

    async def interrupt(self) -> tuple[int, str]:
        """Presses Ctrl-C; the status, and what was told on standard error."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(120):
            out, err = await self.process.communicate()
        self.lines += out.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


def run(*words: str, stdin: bytes = b"") -> str:
    """What a program prints that must succeed."""
    done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return done.stdout.decode()


def tshark(file: Path, *fields: str) -> list[list[str]]:
    words = [word for field in fields for word in ("-e", field)]
    # The end of a file that is being written is cut, which tshark has a status for.
    asked = ["tshark", "-r", str(file), "-T", "fields", *words]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    printed = done.stdout.decode()
    return [line.split("\t") for line in printed.splitlines()]


@pytest.mark.privilege
async def test_a_capture_has_the_packets_that_tcpdump_sees(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "client.pcapng"
    async with (
        capture(lab, "client", "tcp port 80", "-S", "-t", "-v") as seen,
        lab.capture(file, "client", filter="tcp port 80") as caught,
    ):
        await output(lab, "client", "curl", "-s", "-o", "/dev/null", URL)
        await seen.until(r"Flags \[F", 2)
    assert caught.packets > 8 and caught.lost == {}
    read = run("tcpdump", "-nn", "-S", "-t", "-v", "-r", str(file)).splitlines()
    ours, theirs = (list(filter(None, map(str.strip, lines))) for lines in (read, seen.lines))
    assert ours[: len(theirs)] == theirs
    assert len(ours) - len(theirs) <= 2  # of the last acknowledgement, for which nobody waits


async def test_wireshark_knows_interfaces_by_their_places(lab: Lab, tmp_path: Path) -> None:
    """Of a pod, too, that comes while the capture goes on."""
    file = tmp_path / "all.pcapng"
    async with lab.capture(file) as caught:
        await lab.request(URL)
        await lab.scale("product", 4)
        fresh = [name(p) for p in await pods(lab) if name(p).startswith("product")]
        hosts = [p["status"]["podIP"] for p in await pods(lab) if name(p) in fresh]

        async def all_seen() -> bool:
            for host in hosts:
                await lab.request(f"http://{host}:8080/", source="node1")
            return {f"default.{pod}/eth0" for pod in fresh} <= {
                row[0] for row in tshark(file, "frame.interface_name")
            }

        await eventually(all_seen, pause=0.5)
    await lab.scale("product", 3)
    rows = tshark(file, "frame.interface_name", "frame.time_epoch")
    assert len(rows) == caught.packets
    places = {row[0] for row in rows}
    assert {"client/eth0", "router/internet", "router/vpc", "public-lb/eth0", "node1/flannel.1"} <= places
    assert not any("/if" in place for place in places)  # every interface has its name


async def test_a_capture_goes_into_a_pipe(lab: Lab) -> None:
    words = [*this_program(), "-l", lab.name, "capture", "-w", "-", "-c", "2", "-f", "udp port 53", "client"]
    line = f"{shlex.join(words)} 2>/dev/null | tshark -l -r - 2>/dev/null"
    piped = asyncio.create_task(run_program(["sh", "-c", line], b""))

    async def ended() -> bool:
        await lab.resolve("shop.example.com")
        return piped.done()

    await eventually(ended)
    done = await piped
    assert done.status == 0 and len(done.text.splitlines()) == 2 and "DNS" in done.text


async def test_what_cannot_be_captured_says_why(lab: Lab, tmp_path: Path) -> None:
    done = await emulab("-l", lab.name, "capture", "client")
    assert done.status == 2 and b"capture needs -w FILE" in done.stderr
    done = await emulab("-l", lab.name, "capture", "-w", str(tmp_path / "no" / "such"))
    assert done.status == 1 and b"No such file or directory" in done.stderr
    done = await emulab("-l", lab.name, "capture", "-w", os.devnull, "-f", "tcp prt 80")
    assert done.status == 1 and b"'tcp prt 80' is no filter of packets" in done.stderr
    with pytest.raises(UserError, match="no such place"):
        async with lab.capture(tmp_path / "x", "nowhere"):
            pass


async def test_a_monitor_tells_of_each_packet_with_names(lab: Lab) -> None:
    monitor = await Running.begin(lab, "monitor", "--to", "public-lb", "-f", "tcp port 80", "-o", "json")
    asking = asyncio.create_task(_ask_again(lab, URL))
    line = await monitor.until("GET /products/42")
    asking.cancel()
    status, told = await monitor.interrupt()
    assert status == 0 and re.search(r"^\d+ packets, none lost$", told, re.MULTILINE), told
    event = json.loads(line)
    assert event["source"]["name"] == "client" and event["destination"]["name"] == "public-lb"
    events = [json.loads(line) for line in monitor.lines]
    assert {e["destination"]["name"] for e in events} == {"public-lb"}
    # Not the first packet's: it may come while the monitor begins, one place after the other.
    told_at = [(e["place"], e["event"]) for e in events]
    way = [("client", "send"), ("router", "receive"), ("router", "send"), ("public-lb", "receive")]
    assert way in [told_at[at : at + 4] for at in range(len(told_at))]
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)


async def _ask_again(lab: Lab, url: str) -> None:
    while True:
        await lab.request(url)
        await asyncio.sleep(0.2)


@pytest.mark.privilege
async def test_a_monitor_tells_of_drops(lab: Lab) -> None:
    if not AS_ROOT:
        done = await emulab("-l", lab.name, "monitor", "--drops", "--for", "1s")
        assert done.status == 1 and b"root" in done.stderr
        return
    monitor = await Running.begin(lab, "monitor", "--drops", "--to", "node2", "-o", "json")

    async def ask() -> None:
        while True:
            await lab.exec("node1", "curl", "-s", "--max-time", "1", f"http://{NODE2}:81/")

    asking = asyncio.create_task(ask())
    event = json.loads(await monitor.until("NO_SOCKET"))
    asking.cancel()
    assert (await monitor.interrupt())[0] == 0
    assert (event["event"], event["place"], event["detail"]) == ("drop", "node2", "TCP SYN")
    assert (event["source"]["name"], event["destination"]["port"]) == ("node1", 81)


STATES = {
    "ESTAB",
    "LISTEN",
    "TIME-WAIT",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "LAST-ACK",
}


@pytest.mark.privilege
async def test_connections_are_those_of_ss_and_conntrack(lab: Lab) -> None:
    address = await cluster_ip(lab, "product-service")
    _, writer = await connect(lab, "node1", address, 80)

    async def same() -> bool:
        places = json.loads(await asked(lab, "connections", "-o", "json"))["places"]
        for place in ("node1", "public-lb"):
            [told] = [p for p in places if p["name"] == place]
            rows = (await output(lab, place, "ss", "-Htan")).splitlines()
            udp = (await output(lab, place, "ss", "-Huan")).splitlines()
            seen = Counter(row.split()[0] for row in rows) + Counter({"UDP": len(udp)})
            if told["sockets"] != seen:
                return False
        entries = len(await conntrack(lab, "node1"))
        [node1] = [p for p in places if p["name"] == "node1"]
        held: bool = (
            node1["sockets"]["ESTAB"] == 1 and abs(node1["tracked"] - entries) <= 3
        )  # checks come and go
        return held

    await eventually(same)
    one = json.loads(await asked(lab, "connections", "node1", "-o", "json"))
    [held] = [s for s in one["places"][0]["list"] if s["state"] == "ESTAB"]
    assert held["peer"] == {"address": address, "port": 80, "name": "svc default/product-service"}
    tracked = [
        c
        for c in one["places"][0]["connections"]
        if c["to"]["address"] == address and c["state"] == "ESTABLISHED"
    ]
    assert tracked and tracked[0]["answeredBy"]["name"].startswith("pod default/product-")
    text = await asked(lab, "connections")
    assert re.search(r"^svc default/product-service +\d", text, re.MULTILINE), text
    assert "svc default/product-service:80" in await asked(lab, "connections", "node1", "-o", "wide")
    writer.close()


ADDRESS = r"\d+\.\d+\.\d+\.\d+"


@pytest.mark.privilege
async def test_a_way_is_that_of_traceroute_and_tracepath(lab: Lab) -> None:
    pod = f"default.{name((await lab.get('Pod', namespace='default'))[0])}"  # its network, with the lab's rights
    ways = [("client", "203.0.113.10", how) for how in ("udp", "icmp", "tcp")]
    for source, target, how in (*ways, (pod, "198.51.100.2", "udp")):
        words = ("traceroute", "--from", source, f"--{how}", "-q", "1", target, "-o", "json")
        told = json.loads(await asked(lab, *words))
        assert told["reached"], told
        hops = [hop["answers"][0]["address"] or "*" for hop in told["hops"]]
        option = {"udp": "-U", "icmp": "-I", "tcp": "-T"}[how]
        printed = await output(lab, source, "traceroute", "-n", option, "-q", "1", "-w", "2", target)
        real = [re.search(ADDRESS, line) for line in printed.splitlines()[1:]]
        # The kernel limits such messages, so somebody may have had none: `*`.
        assert len(real) == len(hops)
        assert all(not m or hop in ("*", m[0]) for m, hop in zip(real, hops, strict=True)), (printed, hops)
    printed = await output(lab, "client", "tracepath", "-n", "203.0.113.10")
    assert "198.51.100.1" in printed and "203.0.113.10" in printed


async def test_a_way_names_objects_and_translations(lab: Lab) -> None:
    text = await asked(lab, "traceroute", "--from", "node1", "--tcp", "svc/product-service")
    assert re.search(
        r"^translated at node1: svc default/product-service \(\S+:80\) → pod default/product-\S+ \(\S+:8080\)",
        text,
        re.M,
    ), text
    told = json.loads(await asked(lab, "traceroute", "--from", "deploy/product", "client", "-o", "json"))
    assert [t["place"] for t in told["translations"]][-1] == "router"
    assert told["translations"][-1]["after"]["from"] == {
        "address": "203.0.113.1",
        "port": told["translations"][-1]["after"]["from"]["port"],
        "name": "router",
    }
    done = await emulab("-l", lab.name, "traceroute", "192.0.2.1", "--wait", "300ms")
    assert done.status == 1 and "not reached: router says that the network can't be reached (!N)" in done.text
    for words, why in (
        (("nowhere.test",), b"nowhere.test: no such name"),
        (("--icmp", "-p", "80", "client"), b"echo requests have no port"),
        (("-p", "70000", "client"), b"-p is a number from 1 to 65535"),
        (("svc/nobody",), b"nobody"),
    ):
        done = await emulab("-l", lab.name, "traceroute", *words)
        assert done.status in (1, 2) and why in done.stderr, done


async def test_each_change_of_endpoints_is_a_line(lab: Lab) -> None:
    watch = await Running.begin(lab, "watch", "endpoints/product-service")
    rows = await Running.begin(lab, "get", "endpoints", "product-service", "-w")
    await watch.until("= ")
    await rows.until("product-service")
    await lab.scale("product", 4)
    come = await watch.until(r"\+ 10\.")
    assert re.search(
        r"^\d\d:\d\d:\d\d\.\d{3} endpoints/product-service \+ 10\S+:8080 \(pod product-\S+, node\d\)", come
    )
    await watch.until(r"not ready → ready")
    await rows.until(r"\+ 1 more|(10\S+,){3}10")
    await lab.scale("product", 3)
    await watch.until(r"~ 10.* ready → ending")
    await watch.until(r"- 10")
    assert (await watch.interrupt())[0] == 130 and (await rows.interrupt())[0] == 130
    fields = await asked(lab, "watch", "-c", "1", "deploy/product")
    assert fields.endswith("deployments/product is there")
    assert (await emulab("-l", lab.name, "watch", "endpoints/nobody")).status == 1


async def test_a_graph_is_one_for_each_program(lab: Lab, tmp_path: Path) -> None:
    told = json.loads(await asked(lab, "graph", "-o", "json"))
    [node1] = [link for link in told["links"] if (link["place"], link["to"]) == ("node1", "vpc")]
    [before] = json.loads(await output(lab, "node1", "ip", "-s", "-j", "link", "show", "dev", "eth0"))
    assert (
        node1["counters"]["sent"] <= before["stats64"]["tx"]["packets"] <= node1["counters"]["sent"] + 10_000
    )
    there = {name(p) for p in await pods(lab)}
    assert there <= {p["name"].removeprefix("default.") for p in told["places"]}
    drawn = await asked(lab, "graph", "-o", "dot")
    image = html.unescape(run("dot", "-Tsvg", stdin=drawn.encode()))
    assert all(pod in image for pod in there)
    assert await asked(lab, "graph", "-w", str(tmp_path / "lab.svg")) == ""
    picture = (tmp_path / "lab.svg").read_text()
    root = ElementTree.fromstring(picture)
    texts = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
    assert root.tag == f"{SVG}svg" and {"client", "router", "node1", "vpc", "overlay", *there} <= texts
    assert not re.search(r"href|url\(|@import|<script|<image", picture)  # it needs nothing beside it
    done = await emulab("-l", lab.name, "graph", "-w", str(tmp_path / "no" / "lab.svg"))
    assert done.status == 1 and b"No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("place", "command", "shows"),
    [
        ("client", "dig +short shop.example.com", "203.0.113.10"),
        ("client", "curl -s -o /dev/null -w '%{http_code}' " + URL, "200"),
        ("client", "openssl s_client -connect 203.0.113.10:443 -brief </dev/null 2>&1", "TLSv1"),
        ("public-lb", "netstat -tln", ":80 "),
        ("node1", "ipvsadm -Ln 2>&1 || true", "IP Virtual Server"),
        ("node1", "traceroute -n 10.0.0.12", "10.0.0.12"),
        ("deploy/product", "dig +short product-service.default.svc.cluster.local", "10."),
        ("deploy/product", "netstat -tln", ":8080 "),
        ("deploy/product", "curl -s http://product-service/hostname", "product-"),
        ("deploy/product", "traceroute -n 10.0.0.11", "10.0.0.11"),
    ],
)
async def test_what_is_at_hand_works_in_places(lab: Lab, place: str, command: str, shows: str) -> None:
    assert shows in await output(lab, place, "sh", "-c", command)
