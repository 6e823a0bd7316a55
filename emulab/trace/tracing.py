"""`trace`: sends one request in a running lab and joins what was seen of it into its path.

The supervisor opens the windows (`observation`); everything that looks through them is here, in the process of
whoever traces, so that neither the lab nor its servers wait for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import Any

from emulab.errors import UserError
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.observe.events import Recording, Sending
from emulab.observe.join.sightings import Sightings
from emulab.observe.path import Path
from emulab.observe.story import tell
from emulab.observe.target import parse
from emulab.servers.stub import ResolverConfig, resolve_all
from emulab.trace.evidence import Windows, complete
from emulab.trace.sending import RequestToSend, send_request

_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


async def trace(
    lab: str,
    url: str,
    *,
    source: str = "client",
    namespace: str = "default",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    every_packet: bool = False,
    timeout: float = 5.0,
    verify: bool = True,
    http2: bool = False,
    pcap: FilePath | None = None,
) -> Path:
    """Traces one request from `source` (a place, `pod/NAME`, `deploy/NAME`); `timeout` in seconds for its answer.

    A request that fails is a result, see `Path.failure`. `pcap` is written, with comments, when the request is
    through. Raises UserError for a wrong target or source and for a lab that isn't up, OSError for the file.
    """
    asked = TracedRequest(lab, url, source, namespace, method, headers or {}, timeout, verify, http2)
    try:
        recording, sightings = await asyncio.to_thread(asked.record, pcap is not None)
    except asyncio.CancelledError:
        asked.abandon()  # the thread would wait for its answer, and whoever pressed Ctrl-C for the thread
        raise
    path = tell(recording, every_packet, sightings)
    if pcap is not None:
        from emulab.observe.pcapng import comments_of, own_frames, write

        with pcap.open("wb") as file:
            write(file, recording.frames, comments_of(path), own_frames(path, recording.frames))
    return path


class TracedRequest:
    """One request to trace. Blocking, for a thread."""

    def __init__(
        self,
        lab: str,
        url: str,
        source: str,
        namespace: str,
        method: str,
        headers: Mapping[str, str],
        timeout: float,
        verify: bool,
        http2: bool = False,
    ) -> None:
        self._url = url
        self._target = parse(url)
        self._where: dict[str, Any] = {"target": source, "namespace": namespace}
        self._folder = rundir.folder(lab)
        self._method = method
        self._headers = headers
        self._timeout = timeout
        self._verify = verify
        self._http2 = http2
        self._name_ports: list[int] = []
        self._quiet: dict[int, socket.socket] = {}
        self._request: RequestToSend | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """Lets `record` end soon, in whatever way. For another thread."""
        self._abandoned = True
        if self._request is not None:
            self._request.abandon()

    def record(self, whole: bool = False) -> tuple[Recording, Sightings]:
        """All evidence of the request, and the packets in it; `whole`: frames uncut. Raises UserError."""
        with LabClient(self._folder) as client:
            files = client.request("resolver-files", **self._where)
            config = ResolverConfig.parse(*files)
            protocol = "udp" if self._target.protocol == "udp" else "tcp"
            with ExitStack() as opened:
                # Which of them is the request's, is known with its name's address; watched is what any of them sends.
                sockets = {
                    f: opened.enter_context(self._socket(f, _KINDS[protocol])) for f in config.families
                }
                for family in sockets if len(sockets) > 1 else ():
                    # That the sender is asked for another one is no time that the request takes.
                    self._quiet[family] = opened.enter_context(self._socket(family, socket.SOCK_DGRAM))
                ports = [sock.getsockname()[1] for sock in sockets.values()]
                windows = Windows(client, protocol=protocol, ports=ports, whole=whole, **self._where)
                try:
                    sending = self._send(sockets, windows, config)
                    if self._abandoned:
                        raise UserError("the trace was given up")
                    windows.settle()
                    return complete(windows, sending)
                finally:
                    windows.close()

    def _send(
        self, sockets: Mapping[int, socket.socket], windows: Windows, config: ResolverConfig
    ) -> Sending:
        request = RequestToSend(
            text=self._url,
            target=self._target,
            place=windows.source,
            addresses=windows.addresses,
            sockets=sockets,
            resolve=lambda name: asyncio.run(
                resolve_all(name, config, self._name_socket, self._quiet_socket)
            ),
            method=self._method,
            headers=self._headers,
            timeout=self._timeout,
            verify=self._verify,
            http2=self._http2,
        )
        self._request = request
        return send_request(request, self._name_ports)

    def _socket(self, family: int, kind: int) -> socket.socket:
        """A socket of the source, with a port of its own already, which is what its packets are known by."""
        with LabClient(self._folder) as client:
            sock = client.request_socket(**self._where, family=int(family), type=int(kind))
        sock.bind(("", 0))  # all addresses of its family
        return sock

    async def _quiet_socket(self, family: int, kind: int) -> socket.socket:
        """A socket to ask the kernel for a source address by, over which nothing is sent."""
        return self._quiet.pop(family, None) or self._socket(family, kind)

    async def _name_socket(self, family: int, kind: int) -> socket.socket:
        sock = self._socket(family, kind)
        sock.setblocking(False)
        self._name_ports.append(sock.getsockname()[1])
        if self._abandoned:
            raise UserError("the trace was given up")
        return sock
