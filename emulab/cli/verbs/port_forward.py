"""`emulab port-forward`: ports of this machine that lead to ports of a Pod.

As with the kubelet (containerd's `portforward`), the connection to the Pod is made inside of its network namespace, to
its localhost: the lab opens the socket there, and nothing is sent from the host's namespace to an address of the lab.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from functools import partial

from emulab.cli.pods import Chosen, choose
from emulab.cli.portmapping import PortMapping, port_mapping
from emulab.cli.usage import add_namespace
from emulab.errors import EmulabError, UserError
from emulab.lab.client.client import LabClient, connect
from emulab.lab.folders import rundir

CHUNK = 1 << 16
_LOCALHOST = {"localhost": ["127.0.0.1", "::1"]}
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab port-forward [-l LAB] [-n NS] [--address ADDRESS,…] POD|KIND/NAME [LOCAL:]PORT…"
    add = parser.add_argument
    add("target", metavar="POD", help="a pod's name, deploy/NAME or svc/NAME")
    add("ports", nargs="+", metavar="[LOCAL:]PORT", help="8080:80, 80, :80 for any that is free, 8080:http")
    add_namespace(parser)
    add("--address", metavar="ADDRESS", default="localhost", help="where to listen (default: localhost)")


def run(options: argparse.Namespace) -> int:
    with connect(options.lab) as client:
        chosen = choose(client, options.target, options.namespace)
    phase = (chosen.pod.get("status") or {}).get("phase", "Pending")
    if phase != "Running":
        raise UserError(f"unable to forward port because pod is not running. Current status={phase}")
    mappings = [port_mapping(text, chosen) for text in options.ports]
    asyncio.run(_Forwarding(options, chosen).run(mappings))
    return 0


class _Forwarding:
    def __init__(self, options: argparse.Namespace, chosen: Chosen) -> None:
        metadata = chosen.pod["metadata"]
        self._target = {"target": f"pod/{metadata['name']}", "namespace": metadata["namespace"]}
        self._folder = rundir.folder(options.lab)
        self._addresses = [a for word in options.address.split(",") for a in _LOCALHOST.get(word, [word])]
        self._lost = asyncio.Event()

    async def run(self, mappings: list[PortMapping]) -> None:
        """Forwards until the Pod is lost. Raises EmulabError then, and where nobody can listen."""
        servers = [server for mapping in mappings for server in await self._listen(mapping)]
        try:
            await self._lost.wait()
        finally:
            for server in servers:
                server.close()
        raise EmulabError("lost connection to pod")

    async def _listen(self, mapping: PortMapping) -> list[asyncio.Server]:
        servers: list[asyncio.Server] = []
        failures: list[str] = []
        local = mapping.local
        for address in self._addresses:
            try:
                server = await asyncio.start_server(
                    partial(self._handle, mapping.remote), address, local, limit=CHUNK
                )
            except OSError as error:  # an address of a family that this machine lacks, say
                failures.append(f"unable to listen on port {local} of {address}: {error.strerror or error}")
                continue
            local = server.sockets[0].getsockname()[1]
            servers.append(server)
            shown = f"[{address}]" if ":" in address else address
            print(f"Forwarding from {shown}:{local} -> {mapping.remote}", flush=True)
        if not servers:
            raise EmulabError("; ".join(failures))
        return servers

    async def _handle(self, remote: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        local = writer.get_extra_info("sockname")[1]
        print(f"Handling connection for {local}", flush=True)
        try:
            there = await self._connect(remote)
        except (EmulabError, OSError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            print(f"an error occurred forwarding {local} -> {remote}: {why}", file=sys.stderr)
            writer.transport.abort()
            self._lost.set()  # with a Pod that refuses, too, as kubectl since 1.23
            return
        pod_reader, pod_writer = await asyncio.open_connection(sock=there, limit=CHUNK)
        try:
            await asyncio.gather(_relay(reader, pod_writer), _relay(pod_reader, writer))
        finally:
            for end in (writer, pod_writer):
                end.close()

    async def _connect(self, port: int) -> socket.socket:
        """A connection to the Pod's localhost, by IPv4 where somebody listens there. Raises OSError."""
        loop = asyncio.get_running_loop()
        refused: OSError | None = None
        for family, address in _LOOPBACKS:
            sock = await asyncio.to_thread(self._socket, family)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, (address, port))
            except OSError as error:
                sock.close()
                refused = refused or error
                continue
            return sock
        assert refused is not None
        raise refused

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        """A socket that belongs to the Pod. Raises EmulabError."""
        with LabClient(self._folder) as client:
            return client.request_socket(family=int(family), type=int(socket.SOCK_STREAM), **self._target)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what comes, and its end. A side that was reset is nobody to wait for: the other one ends, too."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
