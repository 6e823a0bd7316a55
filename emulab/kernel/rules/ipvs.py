"""IPVS over generic netlink (linux/ip_vs.h): the virtual servers of a namespace and their real servers.

Encoded with `struct` as the rest of our netlink is: a command takes a few microseconds, and labs of other modes need
not import a library for it. Rules, which are those of kube-proxy's graceful termination (pkg/proxy/ipvs):

* What is added comes before what goes, so that a service is never without a server meanwhile.
* A TCP server that is to go stays with weight 0 while it has connections: they live on, new ones go elsewhere. `sweep`
  removes it afterwards. A UDP server goes at once, and its flows with the next packet (sysctl expire_nodest_conn).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink import codec as netlink
from emulab.kernel.netlink.codec import Message, attribute, nested, string, u32
from emulab.kernel.netlink.queries import ask, attributes, dump, text
from emulab.model.addresses import IPAddress
from emulab.plan.state import Ipvs, VirtualServer

NETLINK_GENERIC = 16
REMEDY = "modprobe ip_vs, or use a kernel with CONFIG_IP_VS (Debian: linux-image-amd64; containers use their host's)"

_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
_ATTR_SERVICE, _ATTR_DEST = 1, 2
_SVC_AF, _SVC_PROTOCOL, _SVC_ADDR, _SVC_PORT, _SVC_SCHED_NAME = 1, 2, 3, 4, 6
_SVC_FLAGS, _SVC_TIMEOUT, _SVC_NETMASK, _SVC_F_PERSISTENT = 7, 8, 9, 0x1
_DEST_ADDR, _DEST_PORT, _DEST_FWD_METHOD, _DEST_WEIGHT, _DEST_U_THRESH, _DEST_L_THRESH = 1, 2, 3, 4, 5, 6
_DEST_ACTIVE_CONNS, _DEST_INACT_CONNS, _DEST_ADDR_FAMILY = 7, 8, 11
_CONN_F_MASQ = 0
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_VERBS = {
    NEW_SERVICE: "add virtual server",
    SET_SERVICE: "change virtual server",
    DEL_SERVICE: "remove virtual server",
    NEW_DEST: "add real server",
    SET_DEST: "change real server",
    DEL_DEST: "remove real server",
}

Target = tuple[IPAddress, int]
Name = tuple[str, IPAddress, int]
"""What the kernel knows a virtual server by: protocol, address and port."""


class RealServer(NamedTuple):
    """What the kernel says of one."""

    weight: int
    connections: int


class Command(NamedTuple):
    verb: int
    server: VirtualServer
    target: Target | None = None
    weight: int = 1

    @property
    def what(self) -> str:
        server = f"{self.server.protocol.upper()} {self.server.address}:{self.server.port}"
        if self.target is None:
            return f"{_VERBS[self.verb]} {server}, scheduler {self.server.scheduler}"
        return f"{_VERBS[self.verb]} {self.target[0]}:{self.target[1]} of {server}"


def name_of(server: VirtualServer) -> Name:
    return server.protocol, server.address, server.port


def changed(before: Ipvs, after: Ipvs) -> list[VirtualServer]:
    """Virtual servers of both that differ in their real ones."""
    old = {name_of(s): members for s, members in before.servers.items()}
    return [s for s, members in after.servers.items() if old.get(name_of(s), members) != members]


def changes(
    before: Ipvs, after: Ipvs, there: Mapping[Name, Mapping[Target, RealServer]]
) -> tuple[list[Command], set[Name]]:
    """The commands, and the virtual servers with real ones that can't go yet. Pure.

    `there`: what the kernel has of those that are in both and `changed`.
    """
    old = {name_of(s): s for s in before.servers}
    new = {name_of(s): s for s in after.servers}
    commands: list[Command] = []
    draining: set[Name] = set()
    for name, server in new.items():
        if name not in old:
            commands.append(Command(NEW_SERVICE, server))
        elif old[name] != server:
            commands.append(Command(SET_SERVICE, server))
        if name not in old or name in there:
            members, left = _members(server, after.servers[server], there.get(name, {}))
            commands += members
            if left:
                draining.add(name)
    commands += [Command(DEL_SERVICE, server) for name, server in old.items() if name not in new]
    return commands, draining


def _members(
    server: VirtualServer, wanted: Mapping[Target, int], there: Mapping[Target, RealServer]
) -> tuple[list[Command], bool]:
    """The commands for the real servers of one virtual one, and whether any of them can't go yet."""
    commands = [Command(NEW_DEST, server, t, weight) for t, weight in wanted.items() if t not in there]
    left = False
    for target, real in there.items():
        stays = server.protocol != "udp" and real.connections > 0
        weight = wanted.get(target, 0)
        if target not in wanted and not stays:
            commands.append(Command(DEL_DEST, server, target))
        elif real.weight != weight:
            commands.append(Command(SET_DEST, server, target, weight))
        left = left or (target not in wanted and stays)
    return commands, left


class IpvsTable:
    """IPVS of one namespace. Calls block. Raises KernelError."""

    def __init__(self, namespace: str, fd: int) -> None:
        self.namespace = namespace
        self._fd = fd
        self._wanted = Ipvs({})
        self._draining: set[Name] = set()
        try:
            self._socket = netns.inside(fd, _open)
            self._family = _family(self._socket)
        except OSError:
            raise KernelError("the kernel has no IPVS", remedy=REMEDY) from None

    @property
    def draining(self) -> bool:
        """Whether real servers wait for the end of their last connection."""
        return bool(self._draining)

    def write(self, after: Ipvs | None) -> None:
        """Makes the table equal to `after`, or empty; what it was before when a command fails."""
        before, wanted = self._wanted, after or Ipvs({})
        if wanted.sysctls != before.sysctls:
            netns.inside(self._fd, lambda: self._write_sysctls(wanted))
        commands, draining = changes(before, wanted, self._there(changed(before, wanted)))
        failed = self._send(commands)
        if failed is not None:
            # Some of it may have been done, so some of this has nothing to undo, and fails.
            self._send(changes(wanted, before, self._there(changed(wanted, before)))[0])
            raise failed
        self._wanted = wanted
        self._draining = draining | (self._draining & {name_of(s) for s in wanted.servers})

    def sweep(self) -> None:
        """Removes real servers that are not wanted any more and have lost their last connection."""
        servers = [s for s in self._wanted.servers if name_of(s) in self._draining]
        commands, self._draining = changes(self._wanted, self._wanted, self._there(servers))
        failed = self._send(commands)
        if failed is not None:
            raise failed

    def close(self) -> None:
        self._socket.close()

    def _write_sysctls(self, wanted: Ipvs) -> None:
        for key, value in wanted.sysctls:
            netns.write_sysctl(self.namespace, key, value)

    def _send(self, commands: Iterable[Command]) -> KernelError | None:
        """Sends all, and returns the first failure."""
        todo = list(commands)
        batch = [message(command, self._family) for command in todo]
        for failure in netlink.send_batch(self._socket, batch)[:1]:
            what = f"{batch[failure.index].what}: {failure.text}"
            return KernelError(what, self.namespace, failure.errno)
        return None

    def _there(self, servers: Iterable[VirtualServer]) -> dict[Name, dict[Target, RealServer]]:
        found = {}
        for server in servers:
            payload = _header(GET_DEST) + nested(_ATTR_SERVICE, _identity(server))
            bodies = dump(self._socket, self._family, payload, f"list IPVS of {self.namespace}")
            found[name_of(server)] = dict(real_server(body, server.address.version) for body in bodies)
        return found


def message(command: Command, family: int) -> Message:
    """A command as netlink has it."""
    server = command.server
    service = _identity(server)
    if command.verb in (NEW_SERVICE, SET_SERVICE):
        flags = _SVC_F_PERSISTENT if server.persistence else 0
        netmask = 0xFFFFFFFF if server.address.version == 4 else server.address.max_prefixlen
        service += string(_SVC_SCHED_NAME, server.scheduler)
        service += attribute(_SVC_FLAGS, struct.pack("=II", flags, 0xFFFFFFFF))
        service += u32(_SVC_TIMEOUT, server.persistence) + u32(_SVC_NETMASK, netmask)
    payload = _header(command.verb) + nested(_ATTR_SERVICE, service)
    if command.target is not None:
        payload += nested(_ATTR_DEST, _real(command.target, command.weight))
    return Message(family, 0, payload, command.what)


def real_server(body: bytes, version: int = 4) -> tuple[Target, RealServer]:
    """An answer to GET_DEST."""
    found = attributes(attributes(body, 4)[_ATTR_DEST])
    weight, active, inactive = (
        struct.unpack("=I", found[kind])[0] for kind in (_DEST_WEIGHT, _DEST_ACTIVE_CONNS, _DEST_INACT_CONNS)
    )
    address = ip_address(found[_DEST_ADDR][: 4 if version == 4 else 16])
    port = int.from_bytes(found[_DEST_PORT], "big")
    return (address, port), RealServer(weight, active + inactive)


def describe(sock: socket.socket, protocol: str, address: str, port: int) -> str:
    """A virtual server of the namespace that `sock` asks about, as ipvsadm writes it; "" where there is none."""
    server = VirtualServer(protocol, ip_address(address), port)
    try:
        payload = _header(GET_SERVICE) + nested(_ATTR_SERVICE, _identity(server))
        found = attributes(attributes(ask(sock, _family(sock), payload), 4)[_ATTR_SERVICE])
    except OSError:
        return ""
    flags, timeout = (struct.unpack_from("=I", found[kind])[0] for kind in (_SVC_FLAGS, _SVC_TIMEOUT))
    persistent = f" persistent {timeout}" if flags & _SVC_F_PERSISTENT else ""
    return f"{protocol.upper()} {address}:{port} {text(found[_SVC_SCHED_NAME])}{persistent}"


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
    sock.bind((0, 0))
    return sock


def _family(sock: socket.socket) -> int:
    """The number that the kernel has given IPVS; the question loads its module. Raises OSError."""
    payload = _header(_CTRL_CMD_GETFAMILY) + string(_CTRL_ATTR_FAMILY_NAME, "IPVS")
    answer = attributes(ask(sock, _GENL_ID_CTRL, payload), 4)
    return int(struct.unpack("=H", answer[_CTRL_ATTR_FAMILY_ID])[0])


def _header(command: int) -> bytes:
    return struct.pack("=BBH", command, 1, 0)


def _address_family(address: IPAddress) -> bytes:
    return struct.pack("=H", socket.AF_INET if address.version == 4 else socket.AF_INET6)


def _identity(server: VirtualServer) -> bytes:
    return b"".join(
        (
            attribute(_SVC_AF, _address_family(server.address)),
            attribute(_SVC_PROTOCOL, struct.pack("=H", _PROTOCOLS[server.protocol])),
            attribute(_SVC_ADDR, server.address.packed.ljust(16, b"\0")),
            attribute(_SVC_PORT, struct.pack("!H", server.port)),
        )
    )


def _real(target: Target, weight: int) -> bytes:
    address, port = target
    return b"".join(
        (
            attribute(_DEST_ADDR_FAMILY, _address_family(address)),
            attribute(_DEST_ADDR, address.packed.ljust(16, b"\0")),
            attribute(_DEST_PORT, struct.pack("!H", port)),
            u32(_DEST_FWD_METHOD, _CONN_F_MASQ),
            u32(_DEST_WEIGHT, weight),
            u32(_DEST_U_THRESH, 0),
            u32(_DEST_L_THRESH, 0),
        )
    )
