"""IPVS: the virtual servers of a namespace and their real servers.

Rules, which are those of kube-proxy's graceful termination (pkg/proxy/ipvs):

* What is added comes before what goes, so that a service is never without a server meanwhile.
* A TCP server that is to go stays with weight 0 while it has connections: they live on, new ones go elsewhere. `sweep`
  removes it afterwards. A UDP or SCTP server goes at once, and its flows with the next packet (sysctl
  expire_nodest_conn); where the proxy isn't graceful, so does a TCP server.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink import messages
from emulab.kernel.netlink.ipvs import (
    CONTROL,
    CTRL_CMD_GETFAMILY,
    DEL_DEST,
    DEL_SERVICE,
    GENL_ID_CTRL,
    GET_DEST,
    GET_SERVICE,
    IP_VS_CONN_F_MASQ,
    IP_VS_CONN_F_TUNNEL,
    IP_VS_SVC_F_PERSISTENT,
    IPVS,
    NEW_DEST,
    NEW_SERVICE,
    SET_DEST,
    SET_SERVICE,
)
from emulab.kernel.netlink.messages import FAMILIES, NETLINK_GENERIC, Message
from emulab.kernel.netlink.requests import ask_kernel, dump, send_batch
from emulab.kernel.sysctls import write_sysctl
from emulab.model.addresses import IPAddress, socket_name
from emulab.plan.persistent import change_between
from emulab.plan.state import Ipvs, VirtualServer

REMEDY = "modprobe ip_vs, or use a kernel with CONFIG_IP_VS (Debian: linux-image-amd64; containers use their host's)"

_VERSION = 1  # of generic netlink's interface to it
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_VERBS = {
    NEW_SERVICE: "add virtual server",
    SET_SERVICE: "change virtual server",
    DEL_SERVICE: "remove virtual server",
    NEW_DEST: "add real server",
    SET_DEST: "change real server",
    DEL_DEST: "remove real server",
}

RealAddress = tuple[IPAddress, int]
VirtualName = tuple[str, IPAddress, int, int]
"""What the kernel knows a virtual server by: protocol, address and port, or its mark."""


class RealServer(NamedTuple):
    """What the kernel says of one."""

    weight: int
    connections: int


class IpvsCommand(NamedTuple):
    verb: int
    server: VirtualServer
    target: RealAddress | None = None
    weight: int = 1

    @property
    def what(self) -> str:
        server = f"{self.server.protocol.upper()} {socket_name(self.server.address, self.server.port)}"
        if self.target is None:
            return f"{_VERBS[self.verb]} {server}, scheduler {self.server.scheduler}"
        return f"{_VERBS[self.verb]} {socket_name(*self.target)} of {server}"


def name_of(server: VirtualServer) -> VirtualName:
    return server.protocol, server.address, server.port, server.mark


def differing_servers(before: Ipvs, after: Ipvs) -> list[VirtualServer]:
    """Virtual servers of both that differ in their real ones."""
    change = change_between(before.servers, after.servers)
    old = {name_of(s): before.servers[s] for s in change.removed}
    return [s for s, members in change.added.items() if old.get(name_of(s), members) != members]


def changes(
    before: Ipvs, after: Ipvs, there: Mapping[VirtualServer, Mapping[RealAddress, RealServer]]
) -> tuple[list[IpvsCommand], set[VirtualName]]:
    """The commands, and the virtual servers with real ones that can't go yet. Pure.

    `there`: what the kernel has of virtual servers of `after`, those that are `differing_servers` among them.
    """
    change = change_between(before.servers, after.servers)
    old = {name_of(s): s for s in change.removed}
    new = {name_of(s): s for s in (*change.added, *there)}
    commands: list[IpvsCommand] = []
    draining: set[VirtualName] = set()
    for name, server in new.items():
        fresh = name not in old and server not in there
        if fresh:
            commands.append(IpvsCommand(NEW_SERVICE, server))
        elif old.get(name, server) != server:
            commands.append(IpvsCommand(SET_SERVICE, server))
        if fresh or server in there:
            members, left = _members(server, after.servers[server], there.get(server, {}), after.graceful)
            commands += members
            if left:
                draining.add(name)
    commands += [IpvsCommand(DEL_SERVICE, server) for name, server in old.items() if name not in new]
    return commands, draining


def _members(
    server: VirtualServer,
    wanted: Mapping[RealAddress, int],
    there: Mapping[RealAddress, RealServer],
    graceful: bool,
) -> tuple[list[IpvsCommand], bool]:
    """The commands for the real servers of one virtual one, and whether any of them can't go yet."""
    commands = [IpvsCommand(NEW_DEST, server, t, weight) for t, weight in wanted.items() if t not in there]
    left = False
    for target, real in there.items():
        stays = graceful and server.protocol == "tcp" and real.connections > 0
        weight = wanted.get(target, 0)
        if target not in wanted and not stays:
            commands.append(IpvsCommand(DEL_DEST, server, target))
        elif real.weight != weight:
            commands.append(IpvsCommand(SET_DEST, server, target, weight))
        left = left or (target not in wanted and stays)
    return commands, left


class IpvsTable:
    """IPVS of one namespace. Calls block. Raises KernelError."""

    def __init__(self, namespace: str, fd: int) -> None:
        self.namespace = namespace
        self._fd = fd
        self._wanted = Ipvs({})
        self._draining: set[VirtualName] = set()
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
        commands, draining = changes(before, wanted, self._real_servers(differing_servers(before, wanted)))
        failed = self._send(commands)
        if failed is not None:
            # Some of it may have been done, so some of this has nothing to undo, and fails.
            self._send(changes(wanted, before, self._real_servers(differing_servers(wanted, before)))[0])
            raise failed
        self._wanted = wanted
        if self._draining:
            draining |= self._draining & {name_of(s) for s in wanted.servers}
        self._draining = draining

    def sweep(self) -> None:
        """Removes real servers that are not wanted any more and have lost their last connection."""
        servers = [s for s in self._wanted.servers if name_of(s) in self._draining]
        commands, self._draining = changes(self._wanted, self._wanted, self._real_servers(servers))
        failed = self._send(commands)
        if failed is not None:
            raise failed

    def close(self) -> None:
        self._socket.close()

    def _write_sysctls(self, wanted: Ipvs) -> None:
        for key, value in wanted.sysctls:
            write_sysctl(self.namespace, key, value)

    def _send(self, commands: Iterable[IpvsCommand]) -> KernelError | None:
        """Sends all, and returns the first failure."""
        todo = list(commands)
        batch = [message(command, self._family) for command in todo]
        for failure in send_batch(self._socket, batch)[:1]:
            what = f"{batch[failure.index].what}: {failure.text}"
            return KernelError(what, self.namespace, failure.errno)
        return None

    def _real_servers(
        self, servers: Iterable[VirtualServer]
    ) -> dict[VirtualServer, dict[RealAddress, RealServer]]:
        found = {}
        for server in servers:
            payload = _encode(GET_DEST, _identity(server))
            bodies = dump(self._socket, self._family, payload, f"list IPVS of {self.namespace}")
            found[server] = dict(real_server(body, server.address.version) for body in bodies)
        return found


def message(command: IpvsCommand, family: int) -> Message:
    """A command as netlink has it."""
    server = command.server
    service = _identity(server)
    if command.verb in (NEW_SERVICE, SET_SERVICE):
        service |= {
            "IPVS_SVC_ATTR_SCHED_NAME": server.scheduler,
            "IPVS_SVC_ATTR_FLAGS": IP_VS_SVC_F_PERSISTENT if server.persistence else 0,
            "IPVS_SVC_ATTR_TIMEOUT": server.persistence,
            # The mask of IPv4, but the prefix's length of IPv6.
            "IPVS_SVC_ATTR_NETMASK": {4: 0xFFFFFFFF, 6: 128}[server.address.version],
        }
    target = _real(command.target, command.weight, bool(server.mark)) if command.target is not None else None
    return Message(family, 0, _encode(command.verb, service, target), command.what)


def real_server(body: bytes, version: int = 4) -> tuple[RealAddress, RealServer]:
    """An answer to GET_DEST."""
    found = IPVS.decode(body)["IPVS_CMD_ATTR_DEST"]
    connections = found["IPVS_DEST_ATTR_ACTIVE_CONNS"] + found["IPVS_DEST_ATTR_INACT_CONNS"]
    address = ip_address(found["IPVS_DEST_ATTR_ADDR"][: 4 if version == 4 else 16])
    target = (address, found["IPVS_DEST_ATTR_PORT"])
    return target, RealServer(found["IPVS_DEST_ATTR_WEIGHT"], connections)


def ipvsadm_line(sock: socket.socket, protocol: str, address: str, port: int) -> str:
    """A virtual server of the namespace that `sock` asks about, as ipvsadm writes it; "" where there is none."""
    server = VirtualServer(protocol, ip_address(address), port)
    try:
        answer = ask_kernel(sock, _family(sock), _encode(GET_SERVICE, _identity(server)))
    except OSError:
        return ""
    found = IPVS.decode(answer)["IPVS_CMD_ATTR_SERVICE"]
    kept = found["IPVS_SVC_ATTR_FLAGS"] & IP_VS_SVC_F_PERSISTENT
    persistent = f" persistent {found['IPVS_SVC_ATTR_TIMEOUT']}" if kept else ""
    name = f"{protocol.upper()} {socket_name(address, port)}"
    return f"{name} {found['IPVS_SVC_ATTR_SCHED_NAME']}{persistent}"


def _open() -> socket.socket:
    sock = messages.open_socket(NETLINK_GENERIC)
    sock.bind((0, 0))
    return sock


def _family(sock: socket.socket) -> int:
    """The number that the kernel has given IPVS; the question loads its module. Raises OSError."""
    question = {"cmd": CTRL_CMD_GETFAMILY, "version": _VERSION, "CTRL_ATTR_FAMILY_NAME": "IPVS"}
    answer = CONTROL.decode(ask_kernel(sock, GENL_ID_CTRL, CONTROL.encode(question)))
    return int(answer["CTRL_ATTR_FAMILY_ID"])


def _encode(verb: int, service: Mapping[str, Any], target: Mapping[str, Any] | None = None) -> bytes:
    return IPVS.encode(
        {
            "cmd": verb,
            "version": _VERSION,
            "IPVS_CMD_ATTR_SERVICE": service,
            "IPVS_CMD_ATTR_DEST": target,
        }
    )


def _packed(address: IPAddress) -> bytes:
    """An address as `union nf_inet_addr`."""
    return address.packed.ljust(16, b"\0")


def _identity(server: VirtualServer) -> dict[str, Any]:
    if server.mark:
        return {"IPVS_SVC_ATTR_AF": FAMILIES[server.address.version], "IPVS_SVC_ATTR_FWMARK": server.mark}
    return {
        "IPVS_SVC_ATTR_AF": FAMILIES[server.address.version],
        "IPVS_SVC_ATTR_PROTOCOL": _PROTOCOLS[server.protocol],
        "IPVS_SVC_ATTR_ADDR": _packed(server.address),
        "IPVS_SVC_ATTR_PORT": server.port,
    }


def _real(target: RealAddress, weight: int, tunnel: bool = False) -> dict[str, Any]:
    address, port = target
    return {
        "IPVS_DEST_ATTR_ADDR_FAMILY": FAMILIES[address.version],
        "IPVS_DEST_ATTR_ADDR": _packed(address),
        "IPVS_DEST_ATTR_PORT": port,
        "IPVS_DEST_ATTR_FWD_METHOD": IP_VS_CONN_F_TUNNEL if tunnel else IP_VS_CONN_F_MASQ,
        "IPVS_DEST_ATTR_WEIGHT": weight,
        "IPVS_DEST_ATTR_U_THRESH": 0,
        "IPVS_DEST_ATTR_L_THRESH": 0,
    }
