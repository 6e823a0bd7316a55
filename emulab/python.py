"""`Lab`: a lab from Python, for tests and experiments.

    async with Lab.from_files("topologies/shop.yaml") as lab:
        answer = await lab.request("http://shop.example.com/products/42", source="client")
        assert answer.status == 200 and answer.json()["service"] == "product-service"

The lab is a process tree of its own and lives exactly as long as the `async with` block, or this process,
whichever ends first. Requests are made with sockets of the place they come from, in this process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emulab.errors import NotReady, UserError
from emulab.kernel.processes.programs import Completed
from emulab.kinds.registry import FAULT
from emulab.lab.client import launch
from emulab.lab.client.captured import run_captured
from emulab.lab.client.client import LabClient
from emulab.lab.client.conditions import parse_awaited
from emulab.lab.client.faults import fault_manifest, fault_name
from emulab.lab.client.meant import kind_meant, read, sources_meant, text_meant
from emulab.lab.client.podlogs import LogOptions, read_logs
from emulab.lab.client.requesting import Answer, connect_to_one, read_url, request_fields, secured
from emulab.lab.folders import rundir
from emulab.observe import path as trace
from emulab.servers.stub import ResolverConfig, resolve_all
from emulab.servers.stubquestions import OpenSocket

if TYPE_CHECKING:
    from emulab.lab.client.capturing import FileCapture

_LOOK = 0.05  # seconds between two looks at an object that is waited for


class Lab:
    """A running lab. Make one with `from_files` or `from_text` and enter it with `async with`."""

    def __init__(self, sources: Sequence[tuple[str, str]], name: str = "", timeout: float = 60.0) -> None:
        self.name = rundir.check_name(name or f"py-{os.getpid()}-{secrets.token_hex(3)}")
        self.warnings: list[str] = []
        self._sources = list(sources)
        self._timeout = timeout
        self._leash = -1

    @classmethod
    def from_files(cls, *paths: str | Path, name: str = "", timeout: float = 60.0) -> Self:
        """A lab of these manifests (files or folders). Raises UserError when they can't be read."""
        return cls(read(paths), name, timeout)

    @classmethod
    def from_text(cls, *texts: str, name: str = "", timeout: float = 60.0) -> Self:
        """A lab of these manifests."""
        named = [(f"text{i}", text_meant("a manifest", text, True)) for i, text in enumerate(texts, 1)]
        return cls(named, name, timeout)

    def __repr__(self) -> str:
        return f"<Lab {self.name}, {'up' if self._leash >= 0 else 'down'}>"

    async def __aenter__(self) -> Self:
        # Not in a thread, which can't be cancelled: from here on the leash is ours, and nobody else has it.
        begun = launch.begin(self.name, leashed=True)
        self._leash = begun.leash
        try:
            await launch.started(begun)
            result = await self._ask("apply", sources=self._sources, names=True)
            self.warnings = result["warnings"]
            await self.ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        """Ends the lab, if it is ours: whatever still waits for an answer of it gets an error then."""
        leash, self._leash = self._leash, -1
        if leash >= 0:
            os.close(leash)
            await asyncio.to_thread(rundir.wait_gone, rundir.folder(self.name))

    async def keep(self) -> None:
        """Lets the lab outlive the block and this process, as `emulab up` does; `emulab down -l NAME` ends it."""
        await self._ask("release")
        leash, self._leash = self._leash, -1
        if leash >= 0:
            os.close(leash)

    async def ready(self) -> None:
        """Waits until everything is Ready. Raises EmulabError saying what isn't."""
        await self._ask("ready", timeout=self._timeout)

    async def apply(self, *manifests: str | Path, ready: bool = True) -> list[str]:
        """Applies manifests: paths, or YAML as `str`. Returns warnings."""
        sources = await asyncio.to_thread(sources_meant, manifests)
        result = await self._ask("apply", sources=sources, names=True)
        if ready:
            await self.ready()
        return list(result["warnings"])

    async def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Deletes an object; cluster-scoped kinds have the namespace "". Raises UserError when that can't be.

        It doesn't wait for the end of what is only marked: Pods that run, Namespaces, what finalizers hold.

        `kind`, here and below: any of the names that kubectl takes, such as `Deployment` or `deployments.apps`.
        """
        key = kind_meant(kind).key(text_meant("namespace", namespace, True), text_meant("name", name))
        outcome = await self._ask("delete", keys=[key])
        for _, message, _ in outcome["refused"]:
            raise UserError(message)

    async def scale(
        self, name: str, replicas: int, namespace: str = "default", kind: str = "Deployment"
    ) -> None:
        """Scales a workload; returns when the data plane has changed, not when all are Ready.

        `name` may be KIND/NAME, such as `sts/db`, instead of a `kind`.
        """
        word, slash, own = text_meant("name", name).partition("/")
        group, kind = kind_meant(word if slash else kind)
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
            raise UserError(f"replicas is a number from 0 on, not {replicas!r}")
        name = text_meant("name", own if slash else name)
        await self._ask("scale", group=group, kind=kind, namespace=namespace, name=name, replicas=replicas)

    async def get(self, kind: str, name: str = "", namespace: str = "") -> list[dict[str, Any]]:
        """Objects of a kind with their status; of all namespaces by default."""
        group, kind = kind_meant(kind)
        which = {
            "name": text_meant("name", name, True),
            "namespace": text_meant("namespace", namespace, True),
        }
        result: list[dict[str, Any]] = await self._ask("get", group=group, kind=kind, **which)
        return result

    async def wait(
        self, kind: str, name: str, condition: str, namespace: str = "default", timeout: float = 30.0
    ) -> None:
        """Waits as `kubectl wait --for` does, for `condition=Available`, say (`emulab.lab.client.conditions`).

        Raises NotReady when it isn't so in time, UserError when there is no such object (but for `create`).
        """
        awaited, wanted = parse_awaited(text_meant("condition", condition)), kind_meant(kind)
        name = text_meant("name", name)
        where, end = namespace if wanted.namespaced else "", time.monotonic() + timeout
        while True:
            found = await self.get(wanted.kind + (f".{wanted.group}" if wanted.group else ""), name, where)
            if awaited.deletion:
                done = not found
            else:
                done = bool(found) and (awaited.met is None or awaited.met(found[0]))
            if done:
                return
            if not found and awaited.met is not None:
                raise UserError(f'{wanted.resources} "{name}" not found')
            if time.monotonic() >= end:
                raise NotReady(f"timed out waiting for {condition} on {wanted.plural}/{name}")
            await asyncio.sleep(_LOOK)

    async def events(self, namespace: str = "", about: str = "") -> list[dict[str, Any]]:
        """What happened, oldest first; of all namespaces by default. `about`: KIND/NAME, of one object alone."""
        kind, _, name = about.partition("/")
        wanted = (kind_meant(kind).kind, name) if about else None
        found = [
            event
            for event in await self.get("events", namespace=namespace)
            if wanted in (None, tuple((event.get("involvedObject") or {}).get(k) for k in ("kind", "name")))
        ]
        return sorted(found, key=lambda e: str(e.get("lastTimestamp") or e.get("firstTimestamp") or ""))

    async def logs(
        self,
        target: str = "",
        namespace: str = "default",
        container: str = "",
        tail: int = 0,
        *,
        selector: str = "",
        all_containers: bool = False,
        previous: bool = False,
        since: float | None = None,
        since_time: datetime | str | None = None,
        timestamps: bool = False,
        prefix: bool = False,
    ) -> str:
        """What a container wrote in its last life, as `emulab logs`: of a pod's name, `pod/NAME` or `deploy/NAME`; or a
        place; or of all pods with the labels of `selector`, one after the other.

        `tail`: only so many last lines of each. `since`: only those of the last so many seconds. Raises UserError.
        """
        if bool(text_meant("target", target, True)) == bool(text_meant("selector", selector, True)):
            raise UserError("logs takes a target or a selector: a pod's name, say")
        which = {"target": target, "selector": selector, "container": container}
        files = await self._ask("log-files", namespace=namespace, all_containers=all_containers, **which)
        options = LogOptions(tail, previous, since, since_time, timestamps, prefix)
        return await asyncio.to_thread(read_logs, files, options)

    async def server_status(self, name: str) -> dict[str, Any]:
        """The counters of a server: `public-lb`, `resolver`, `stand-ins`, `NAMESPACE.POD/CONTAINER`, …"""
        result: dict[str, Any] = await self._ask("server-status", name=name)
        return result

    async def frontends(self, node: str) -> list[dict[str, Any]]:
        """What a node's BPF programs know of Services, as `emulab lb`. Raises UserError in other proxy modes."""
        found: dict[str, list[dict[str, Any]]] = await self._ask("translations", node=node)
        return found[node]

    async def exec(
        self, target: str, *argv: str, namespace: str = "default", container: str = "", stdin: bytes = b""
    ) -> Completed:
        """Runs a program in a place or pod, as `emulab exec` does. It is killed when the caller is cancelled.

        Raises UserError when there is no such target, EmulabError when the lab ends.
        """
        text_meant("target", target)
        if not argv:
            raise UserError("exec needs a command: lab.exec('client', 'ip', 'address')")
        for word in argv:
            text_meant("a word of a command", word, True)
        with await asyncio.to_thread(LabClient, rundir.folder(self.name)) as client:
            return await run_captured(client, target, namespace, container, argv, stdin)

    async def socket(
        self,
        source: str,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        namespace: str = "default",
        family: int = socket.AF_UNSPEC,
    ) -> socket.socket:
        """A fresh non-blocking socket that belongs to a place or pod.

        Of the family that is asked for (`socket.AF_INET`, `socket.AF_INET6`), or else of the place's primary one, whose
        address is the first that it has: IPv6 in a lab of IPv6 alone, and in one of `families: [IPv6, IPv4]`.
        """

        def ask() -> socket.socket:
            with LabClient(rundir.folder(self.name)) as client:
                return client.request_socket(
                    target=source, namespace=namespace, family=int(family), type=int(kind)
                )

        return await asyncio.to_thread(ask)

    async def resolve(self, name: str, source: str = "client", namespace: str = "default") -> str:
        """The address of a name that `source` would try first. Raises UserError when there is none.

        In a lab of both families that is as a rule the one of IPv6, as getaddrinfo(3) sorts them (RFC 6724).
        """
        return (await self.resolve_all(name, source, namespace))[0]

    async def resolve_all(self, name: str, source: str = "client", namespace: str = "default") -> list[str]:
        """All addresses of a name, in the order in which `source` would try them. Raises UserError without any."""
        files = await self._ask("resolver-files", target=source, namespace=namespace)
        return await resolve_all(name, ResolverConfig.parse(*files), self._opening(source, namespace))

    def _opening(self, source: str, namespace: str) -> OpenSocket:
        async def open_socket(family: int, kind: int) -> socket.socket:
            return await self.socket(source, socket.SocketKind(kind), namespace, family)

        return open_socket

    async def request(
        self,
        url: str,
        source: str = "client",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        namespace: str = "default",
        timeout: float = 30.0,
        verify: bool = True,
    ) -> Answer:
        """Sends one HTTP request from a place or pod, its path as it is written; redirects aren't followed. A host with
        addresses of both families is asked by IPv6 first, and by IPv4 where that doesn't connect, as curl does it.
        `timeout`, in seconds, is of all that: asking for the name, connecting and the whole answer.

        Raises UserError when the URL is wrong or the name doesn't resolve, OSError when the connection fails or ends
        before the answer does, TimeoutError, and PeerError when what answers is no HTTP.
        """
        from emulab.lab.exchange import exchange
        from emulab.servers.wire.http1.client import ResponseReader, as_target, request_bytes

        begun = time.perf_counter()
        parts, port = read_url(text_meant("url", url))
        host, method = parts.hostname or "", method.upper()
        target = as_target((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        response = ResponseReader(to_head=method == "HEAD")
        asked = request_bytes(method, target, request_fields(parts, method, headers or {}, body), body or b"")
        async with asyncio.timeout(timeout):
            addresses = await self.resolve_all(host, source, namespace)
            sock = await connect_to_one(addresses, port, self._opening(source, namespace))
            tls = secured(verify) if parts.scheme == "https" else None
            content = await exchange(sock, asked, response, tls, host)
        lowered = {name.lower(): value for name, value in response.fields}
        return Answer(response.status, lowered, content, time.perf_counter() - begun)

    async def trace(
        self,
        url: str,
        source: str = "client",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        namespace: str = "default",
        timeout: float = 5.0,
        verify: bool = True,
        http2: bool = False,
        every_packet: bool = False,
        pcap: Path | None = None,
    ) -> trace.Path:
        """Sends one request and returns the path that it took, with evidence; `url` as for `emulab trace`.

        `every_packet`: a hop for each packet instead of each flight of them. `pcap`: a capture file to write.
        A request that fails is a result (`Path.failure`). Raises UserError for a wrong target or source.
        """
        from emulab.trace import tracing

        return await tracing.trace(
            *(self.name, url),
            source=source,
            namespace=namespace,
            method=method,
            headers=headers,
            every_packet=every_packet,
            timeout=timeout,
            verify=verify,
            http2=http2,
            pcap=pcap,
        )

    @asynccontextmanager
    async def capture(
        self, file: str | Path, *places: str, namespace: str = "default", filter: str = ""
    ) -> AsyncIterator[FileCapture]:
        """Writes what passes at places and pods (none: everywhere) while the block runs to a file for Wireshark.

        `filter`: only such packets, as tcpdump says it. How many there were is known behind the block: `packets`, and
        `lost` by place. Raises UserError for a place or a filter that can't be, OSError for the file.
        """
        from emulab.lab.client.capturing import FileCapture

        folder = rundir.folder(self.name)
        begun = await asyncio.to_thread(FileCapture, folder, Path(file), places, namespace, filter)
        try:
            yield begun
        finally:
            await asyncio.to_thread(begun.end)

    @asynccontextmanager
    async def fault(
        self, name: str, target: str = "", *, seed: int = 0, **options: str | float
    ) -> AsyncIterator[str]:
        """Breaks something for as long as the block, as `emulab fault put` does, and mends it: the Fault's own name.

        `target`: the node, zone or place where it is put, or else what `seed` draws. `options`: the fault's own, as
        `emulab fault list NAME` tells of them. Raises ManifestError when there is no such fault, target or option.
        """
        name, target = text_meant("fault", name), text_meant("target", target, True)
        body = fault_manifest(name, target, options, seed=seed)
        await self._ask("apply", sources=[("fault", body)], strict=True)
        own = fault_name(name, target)
        try:
            yield own
        finally:
            await self._ask("delete", keys=[FAULT.key("", own)], ignore_missing=True)

    async def _ask(self, op: str, **arguments: Any) -> Any:
        def ask() -> Any:
            with LabClient(rundir.folder(self.name)) as client:
                return client.request(op, **arguments)

        return await asyncio.to_thread(ask)
