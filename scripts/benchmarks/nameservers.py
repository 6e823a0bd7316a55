"""What stands beside what in `scripts/bench dns`: emulab's own name server, dnsmasq and unbound, one process each.

All are told the same, each at an address of its own, and share one CPU; the programs have the configuration that they
would have as a lab's engines.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dnslib

from benchmarks.proxied import ask, pin, tell
from emulab.servers.configuration import from_json, json_bytes, to_json
from emulab.servers.dns.config import DnsConfig
from emulab.servers.engines.dnsmasq import conf as dnsmasq
from emulab.servers.engines.unbound import conf as unbound
from emulab.servers.patches import patch_between
from emulab.servers.told import told_bytes

EMULAB, DNSMASQ, UNBOUND = "emulab", "dnsmasq", "unbound"
ADDRESSES = {EMULAB: "10.9.0.1", DNSMASQ: "10.9.0.2", UNBOUND: "10.9.0.3"}
UPSTREAM = "10.9.1.1"
PATIENCE = 30.0


def listeners(address: str) -> tuple[str, ...]:
    return f"udp/{address}/53", f"tcp/{address}/53"


class OwnServer:
    """emulab's own, in a process of its own."""

    def __init__(self, config: DnsConfig, cpu: int = 0) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = get_context("fork").Process(
            target=_serve, args=(theirs, self._control, cpu), daemon=True
        )
        self._process.start()
        theirs.close()
        sockets = [_listening(key) for key in config.listen]
        ask(self._control, "sockets", [one.fileno() for one in sockets], keys=list(config.listen))
        self.config = config
        tell(self._control, "configure", told_bytes(config))
        for one in sockets:
            one.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def change(self, config: DnsConfig) -> None:
        """As a lab does it: what differs alone, where that can be."""
        patch = patch_between(self.config, config)
        self.config = config
        if patch is None:
            tell(self._control, "configure", told_bytes(config))
        else:
            tell(self._control, "patch", json_bytes(patch))

    def stop(self) -> None:
        self._control.close()
        self._process.join()


class Program:
    """dnsmasq or unbound."""

    def __init__(self, name: str, config: DnsConfig, folder: Path) -> None:
        files: Mapping[str, str]
        if name == DNSMASQ:
            files, own = dnsmasq.dnsmasq_files(config, 1), dnsmasq.FOLDER
        else:
            files, own = unbound.unbound_files(config, 1), unbound.FOLDER
        place = folder / name
        place.mkdir(exist_ok=True)
        for path, text in files.items():
            (place / Path(path).name).write_text(text.replace(own, str(place)))
        conf = str(place / Path(next(iter(files))).name)
        command = [DNSMASQ, "-C", conf] if name == DNSMASQ else [UNBOUND, "-d", "-p", "-c", conf]
        self._process = subprocess.Popen(command, preexec_fn=lambda: pin(0), stderr=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


Server = OwnServer | Program


@dataclass(frozen=True, slots=True)
class NameServerSide:
    """One server that is measured."""

    name: str
    address: str
    server: Server


def sides(config: dict[str, DnsConfig], folder: Path, known: str) -> list[NameServerSide]:
    """Servers with configurations by their names, which answer for a name that all of them know."""
    found = []
    for name, wanted in config.items():
        server = OwnServer(wanted) if name == EMULAB else Program(name, wanted, folder)
        found.append(NameServerSide(name, ADDRESSES[name], server))
    try:
        for side in found:
            wait(side.address, known)
    except BaseException:
        for side in found:
            side.server.stop()
        raise
    return found


def at(config: dict[str, Any], name: str) -> DnsConfig:
    """A configuration, as plain data, at a side's address."""
    return from_json(DnsConfig, {**config, "listen": list(listeners(ADDRESSES[name]))})


def plain(config: DnsConfig) -> dict[str, Any]:
    return dict(to_json(config))


def wait(address: str, name: str) -> None:
    """Returns once somebody answers there, whatever it is."""
    query = bytes(dnslib.DNSRecord.question(name).pack())
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        while True:
            with suppress(OSError):
                sock.sendto(query, (address, 53))
                sock.recv(4096)
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody answers at {address}")
            time.sleep(0.02)


def _listening(key: str) -> socket.socket:
    protocol, address, port = key.split("/")
    if protocol == "tcp":
        sock = socket.create_server((address, int(port)))
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, int(port)))
    sock.setblocking(False)
    return sock


def _serve(control: socket.socket, parents: socket.socket, cpu: int) -> None:
    from emulab.servers.host import serve

    parents.close()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    pin(cpu)
    serve("dns", control)
