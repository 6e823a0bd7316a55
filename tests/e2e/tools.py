"""What the end-to-end tests share: ways to ask, and ways to look at what passed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import struct
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from emulab import Lab
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import Completed, run_program, this_program
from emulab.servers.stubquestions import socket_family

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGIES = ROOT / "topologies"
PROGRAMS = Path(__file__).resolve().parent / "programs"
PYTHON = sys.executable
INTERPRETER = os.path.realpath(PYTHON)
"""The same for programs of pods, which may not see the folder of a virtual environment."""
AS_ROOT = os.geteuid() == 0
OF_ROOT = (
    pytest.mark.root,
    pytest.mark.skipif(not AS_ROOT, reason="no user namespace may load BPF programs"),
)
"""Marks of what needs proxy mode ebpf."""

CLIENT, NODE1, NODE2, PUBLIC_LB, NAT = "198.51.100.2", "10.0.0.11", "10.0.0.12", "10.0.0.10", "203.0.113.1"
VIP, DNS = "203.0.113.10", "198.51.100.54"


def program(file: str, *arguments: str) -> str:
    """The `command` of a container that runs one of PROGRAMS, as YAML has it: pods may not see the folder it is in."""
    return json.dumps([INTERPRETER, "-c", (PROGRAMS / file).read_text(), *arguments])


def sharing(folder: Path) -> str:
    """A Cluster whose pods may have a folder of the host's, as YAML; empty before other documents."""
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "sharing"}}
    allowed = {"pods": {"hostPaths": [{"path": str(folder), "readOnly": False}]}}
    return json.dumps({**cluster, "spec": allowed}) + "\n---\n"


def mounted(manifest: str, folder: Path) -> str:
    """A manifest whose pods' containers see a folder of the host's at the very same path. `sharing` allows it."""
    objects = [o for o in yaml.safe_load_all(manifest) if o]
    for o in objects:
        spec = o["spec"] if o["kind"] == "Pod" else (o.get("spec") or {}).get("template", {}).get("spec")
        if spec:
            spec["volumes"] = [{"name": "shared", "hostPath": {"path": str(folder)}}]
            for container in (*spec["containers"], *spec.get("initContainers", ())):
                container["volumeMounts"] = [{"name": "shared", "mountPath": str(folder)}]
    return "\n---\n".join(map(json.dumps, objects)) + "\n---\n"


# Asking


async def output(lab: Lab, place: str, *argv: str, namespace: str = "default", container: str = "") -> str:
    """The standard output of a program in a place, which must succeed."""
    async with asyncio.timeout(120):
        done = await lab.exec(place, *argv, namespace=namespace, container=container)
    assert done.status == 0, f"{' '.join(argv)} in {place}: status {done.status}, {done.stderr.decode()}"
    return done.text


async def emulab(*arguments: str, stdin: bytes = b"") -> Completed:
    """The command line, as a user runs it."""
    async with asyncio.timeout(120):
        return await run_program([*this_program(), *arguments], stdin)


async def eventually(check: Callable[[], Awaitable[T]], seconds: float = 120.0, pause: float = 0.02) -> T:
    """What `check` returns once it is truthy; its last result (and a failure) after `seconds`.

    The limit is there to end what would never come, and long enough for a busy machine.
    """
    end = time.monotonic() + seconds
    while not (result := await check()):
        assert time.monotonic() < end, f"not within {seconds} s: {check.__qualname__}, last {result!r}"
        await asyncio.sleep(pause)
    return result


async def begun(work: asyncio.Future[Any], file: Path) -> None:
    """Waits until a program has made that file, as those do whose load is to be met under way; or until it ended."""

    there = file.exists

    async def made() -> bool:
        return work.done() or there()

    await eventually(made)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(lab: Lab, source: str, address: str, port: int, namespace: str = "default") -> Streams:
    """A TCP connection from a place or pod to an address."""
    sock = await lab.socket(source, namespace=namespace, family=socket_family(address))
    try:
        async with asyncio.timeout(30):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)


async def refused(
    lab: Lab, source: str, address: str, port: int, udp: bool = False, by_icmp: bool = False
) -> None:
    """A connection (or a datagram) is refused at once; fails when it isn't.

    At once is: the first SYN, the only datagram. The clock couldn't say, as a busy machine takes its time, too.
    `by_icmp`: it may be the second SYN. A message that comes while connect() still has the socket is only noted
    (tcp_v4_err), and heard with the next one.
    """
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    loop = asyncio.get_running_loop()
    with await lab.socket(source, kind, family=socket_family(address)) as sock:
        try:
            async with asyncio.timeout(10):
                await loop.sock_connect(sock, (address, port))
                if udp:
                    await loop.sock_sendall(sock, b"?")
                    await loop.sock_recv(sock, 100)
        except ConnectionRefusedError:
            late = 0 if udp else sent_again(sock)
            assert late <= by_icmp, f"{source} → {address}:{port}: the first SYN but {late} was refused"
            return
        except PermissionError:
            # A datagram that the node's own output hook rejects: the kernel tells the sender so (EPERM) beside
            # the ICMP message, as it does under kube-proxy.
            assert udp and source.startswith("node")
            return
        except TimeoutError:
            raise AssertionError(f"{source} → {address}:{port}: no refusal in 10 s") from None
    raise AssertionError(f"{source} → {address}:{port}: accepted")


def sent_again(sock: socket.socket) -> int:
    """How many segments of a TCP socket were sent again."""
    offset = 100  # where struct tcp_info has tcpi_total_retrans, linux/tcp.h
    (number,) = struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), offset)
    return int(number)


async def datagram(
    lab: Lab, source: str, address: str, port: int, payload: bytes, seconds: float = 10.0
) -> bytes:
    """The answer to one datagram."""
    loop = asyncio.get_running_loop()
    with await lab.socket(source, socket.SOCK_DGRAM, family=socket_family(address)) as sock:
        await loop.sock_connect(sock, (address, port))
        await loop.sock_sendall(sock, payload)
        async with asyncio.timeout(seconds):
            return await loop.sock_recv(sock, 1 << 16)


async def exchange(streams: Streams, data: bytes) -> bytes:
    """Sends `data` and the end of the stream, meanwhile receives everything until the peer's end."""
    reader, writer = streams

    async def send() -> None:
        for start in range(0, len(data), 1 << 18):
            writer.write(data[start : start + (1 << 18)])
            await writer.drain()
        writer.write_eof()

    async with asyncio.timeout(120):
        received, _ = await asyncio.gather(reader.read(), send())
    writer.close()
    return received


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One HTTP/1.1 response with a Content-Length, read by hand: status, headers in lower case, body."""
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(status.split()[1]), headers, body


async def held_requests(lab: Lab, address: str, host: str, path: str, count: int) -> list[dict[str, Any]]:
    """The answers to requests that are all open at once, so that none can share a connection to its server."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    opened = await asyncio.gather(*(connect(lab, "client", address, 80) for _ in range(count)))
    for _, writer in opened:
        writer.write(head.encode())
        await writer.drain()
    answers = []
    for reader, writer in opened:
        writer.write(b"0\r\n\r\n")
        status, _, body = await response(reader)
        assert status == 200, body
        answers.append(json.loads(body))
        writer.close()
    return answers


# Objects


async def all_healthy(lab: Lab, balancer: str = "public-lb") -> None:
    """Returns once a balancer deems all its targets healthy; `Lab.ready` is content with one of each frontend."""

    async def healthy() -> bool:
        frontends = (await lab.server_status(balancer))["frontends"].values()
        return all(t["healthy"] for f in frontends for t in f["targets"].values())

    await eventually(healthy)


async def pods(lab: Lab, namespace: str = "default", **labels: str) -> list[dict[str, Any]]:
    """The pods with these labels, those that end left out."""
    return [
        pod
        for pod in await lab.get("Pod", namespace=namespace)
        if labels.items() <= pod["metadata"].get("labels", {}).items()
        and "deletionTimestamp" not in pod["metadata"]
    ]


def name(o: dict[str, Any]) -> str:
    return str(o["metadata"]["name"])


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


async def cluster_ip(lab: Lab, service: str, namespace: str = "default") -> str:
    [found] = await lab.get("Service", service, namespace)
    return str(found["spec"]["clusterIP"])


async def node_port(lab: Lab, service: str, port: str = "", namespace: str = "default") -> int:
    """The node port of a Service's port of this name (the first by default)."""
    [found] = await lab.get("Service", service, namespace)
    return int(next(p["nodePort"] for p in found["spec"]["ports"] if port in ("", p.get("name"))))


# Looking


async def counters(lab: Lab, place: str, link: str) -> dict[str, int]:
    """Packets that a link has sent and received."""
    [found] = json.loads(await output(lab, place, "ip", "-s", "-j", "link", "show", "dev", link))
    stats = found["stats64"]
    return {"tx": stats["tx"]["packets"], "rx": stats["rx"]["packets"], "mtu": found["mtu"]}


async def conntrack(lab: Lab, place: str, *options: str) -> list[str]:
    """The connections that a place's kernel tracks, one line each."""
    return (await output(lab, place, "conntrack", "-L", *options)).splitlines()


class Capture:
    """The lines of a running tcpdump."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def add(self, line: str) -> None:
        self.lines.append(line)
        self._more.set()

    def matching(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    async def until(self, pattern: str, count: int = 1, seconds: float = 120.0) -> list[str]:
        """The matching lines, once there are that many. Fails when they don't come."""
        try:
            async with asyncio.timeout(seconds):
                while len(found := self.matching(pattern)) < count:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            text = "\n".join(self.lines[-40:]) or "(nothing)"
            raise AssertionError(f"not captured: {pattern}\n{text}") from None
        return found


@asynccontextmanager
async def capture(
    lab: Lab, place: str, expression: str, *options: str, link: str = "eth0", namespace: str = "default"
) -> AsyncIterator[Capture]:
    """Runs tcpdump in a place for the duration of the block."""
    arguments = ["-nn", "-l", *options, expression]
    place = network_of(place, namespace)
    enter = [*this_program(), "-l", lab.name, "exec", place, "-n", namespace, "--"]
    found = Capture()
    async with AsyncExitStack() as ending:
        if AS_ROOT:
            command = [*enter, "tcpdump", "-i", link, "--immediate-mode", "-Z", "root", *arguments]
            process = await _start(ending, command)
        else:  # see programs/tap.py
            read, write = os.pipe()
            await _start(ending, [*enter, PYTHON, str(PROGRAMS / "tap.py"), link], stdout=write)
            os.close(write)
            process = await _start(ending, ["tcpdump", "-r", "-", *arguments], stdin=read)
            os.close(read)
        assert process.stdout is not None and process.stderr is not None
        said = b""
        async with asyncio.timeout(30):
            while b"listening on" not in said and b"reading from" not in said:
                chunk = await process.stderr.read(4096)
                assert chunk, f"tcpdump in {place}: {said.decode()}"
                said += chunk
        reading = asyncio.ensure_future(_read_lines(process.stdout, found.add))
        silent = asyncio.ensure_future(_read_lines(process.stderr, lambda _: None))
        try:
            yield found
        finally:
            await ending.aclose()
            await asyncio.gather(reading, silent)


def network_of(place: str, namespace: str = "default") -> str:
    """The place that is a pod's network alone: a container may neither change nor watch that."""
    return place.replace("pod/", f"{namespace}.") if place.startswith("pod/") else place


async def _start(
    ending: AsyncExitStack, command: Sequence[str], stdin: int = DEVNULL, stdout: int = PIPE
) -> asyncio.subprocess.Process:
    """Starts a program that ends with `ending`."""
    environment = {**os.environ, "PYTHONPATH": import_path()}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=stdout, stderr=PIPE if stdout == PIPE else None, env=environment
    )

    async def end() -> None:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    ending.push_async_callback(end)
    return process


async def _read_lines(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    while line := await stream.readline():
        take(line.decode(errors="replace").rstrip())


def addresses(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Source and destination, `IP.PORT` each, of captured packets."""
    pairs = (re.search(r"IP6? (\S+) > ([^\s:]+):", line) for line in lines)
    return [(m[1], m[2]) for m in pairs if m]
