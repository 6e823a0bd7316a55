"""A node with three pods and somebody outside, to send packets through a node's rules.

    outside 10.0.0.100 ── 10.0.0.10 node ── pod1 10.244.1.2
       routes to services and pods      ├── pod2 10.244.1.3
                                        └── pod3 10.244.2.2, which stands for one of another node

Each pod answers on port 8080 of TCP and UDP with its name and the address that it sees.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.kinds.core.serviceview import ServicePort
from emulab.model.families import IPV4
from emulab.plan.links import Address, Item, Neighbour, Route, Veth
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.state import Namespace, Network, Rules
from emulab.plan.sysctls import forwarder

NODE = "10.0.0.10"
OUTSIDE = [f"10.0.0.{n}" for n in range(100, 120)]
PODS = {"pod1": "10.244.1.2", "pod2": "10.244.1.3", "pod3": "10.244.2.2"}
NODE_OF = {"pod1": "node1", "pod2": "node1", "pod3": "node2"}
CLUSTER_IP = "10.96.0.7"
EXTERNAL_IP = "203.0.113.7"
BALANCER_IP = "203.0.113.20"


def backends(*pods: str) -> tuple[ProxiedEndpoint, ...]:
    """Ready endpoints, in the order of their addresses."""
    return tuple(
        ProxiedEndpoint(ip_address(PODS[p]), 8080, NODE_OF[p], True, True, False, (), ())
        for p in sorted(pods)
    )


def intent(*pods: str, name: str = "web", protocol: str = "TCP", node_port: int = 0, **fields: Any) -> Intent:
    """A Service's port 80 for node1, served by these pods."""
    known: dict[str, Any] = {
        "namespace": "shop",
        "name": name,
        "port": ServicePort("http", protocol, 80, 8080, node_port, ""),
        "cluster_ips": (ip_address(CLUSTER_IP),),
        "external_ips": (),
        "balancer_ips": (),
        "source_ranges": (),
        "node_port": node_port,
        "internal_local": False,
        "external_local": False,
        "affinity": 0,
        "cluster": backends(*pods),
        "local": (),
        "has_any": bool(pods),
    }
    if fields.get("internal_local") or fields.get("external_local"):
        known["local"] = backends(*(p for p in pods if NODE_OF[p] == "node1"))
    return Intent(**(known | fields))


PATIENCE = 20.0  # seconds for an answer, which comes from a thread that a busy machine may keep waiting

# Else the kernel sends six ICMP errors to an address, then one a second.
NODE_SETTINGS = (*forwarder((IPV4,)), ("net/ipv4/icmp_ratelimit", "0"))


class ServiceWorld:
    """The network above with rules on its node."""

    def __init__(self) -> None:
        self.kernel = KernelNetwork()
        self._namespaces = {
            name: Namespace(name, NODE_SETTINGS if name == "node" else ())
            for name in ("node", "outside", *PODS)
        }
        self._items = frozenset(_links())
        self.serve(None)
        for name in PODS:
            self._answer(name)

    def serve(self, rules: Rules | None, key: str = "iptables") -> None:
        """Gives the node these rules, and no others."""
        rulesets = {("node", key): rules} if rules is not None else {}
        self.kernel.apply(Network(self._namespaces, self._items, rulesets))

    def socket(self, place: str, kind: int) -> socket.socket:
        return netns.inside(self.kernel.handles[place].fd, lambda: socket.socket(socket.AF_INET, kind))

    def _answer(self, pod: str) -> None:
        listener, datagrams = (self.socket(pod, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        for sock in (listener, datagrams):
            sock.bind(("0.0.0.0", 8080))
        listener.listen(64)

        def accept() -> None:
            while True:
                connection, peer = listener.accept()
                connection.sendall(f"{pod} {peer[0]}".encode())
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

        def echo(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)

        def answer() -> None:
            while True:
                _, peer = datagrams.recvfrom(100)
                datagrams.sendto(f"{pod} {peer[0]}".encode(), peer)

        for work in (accept, answer):
            threading.Thread(target=work, daemon=True).start()

    def ask(
        self,
        place: str,
        address: str,
        port: int = 80,
        udp: bool = False,
        source: str = "",
        patience: float = PATIENCE,
    ) -> str:
        """Who answers, and which address it sees: `pod1 10.0.0.100`. Raises OSError."""
        with self.connect(place, address, port, udp, source, patience) as sock:
            if udp:
                sock.send(b"who?")
            return sock.recv(100).decode()

    def connect(
        self,
        place: str,
        address: str,
        port: int = 80,
        udp: bool = False,
        source: str = "",
        patience: float = PATIENCE,
    ) -> socket.socket:
        sock = self.socket(place, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        try:
            sock.settimeout(patience)
            if source:
                sock.bind((source, 0))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def outcome(self, place: str, address: str, port: int = 80, udp: bool = False, source: str = "") -> str:
        """As `ask`, with `refused`, `forbidden` (the own kernel refuses to send) and `silence` for no answer.

        What refuses is the kernel, before it returns to us; but an ICMP message that comes while connect() still
        has the socket is only noted (tcp_v4_err), and heard with the second SYN, a second after the first.
        """
        try:
            return self.ask(place, address, port, udp, source, patience=1.5)
        except ConnectionRefusedError:
            return "refused"
        except PermissionError:
            return "forbidden"
        except TimeoutError:
            return "silence"

    def outcomes(self, *asked: tuple[str, str, int, str]) -> set[str]:
        """The outcomes of several connections at once: place, address, port and source of each.

        Silence is known by waiting, for all of them together no longer than for one.
        """
        with ThreadPoolExecutor(len(asked)) as pool:
            return {*pool.map(lambda one: self.outcome(*one[:3], source=one[3]), asked)}


def _links() -> Iterable[Item]:
    def mac(number: int) -> str:
        return f"02:00:00:00:00:{number:02x}"

    yield Veth("node", "eth0", mac(1), "outside", "eth0", mac(2), 1500)
    yield Address("node", "eth0", ip_interface(f"{NODE}/24"))
    for address in OUTSIDE:
        yield Address("outside", "eth0", ip_interface(f"{address}/24"))
    for network in ("10.96.0.0/12", "10.244.0.0/16", "203.0.113.0/24"):
        yield Route("outside", ip_network(network), "eth0", ip_address(NODE))
    # What is not the node's own leaves it by the outside, whose rules nobody asked for it.
    yield Route("node", ip_network("0.0.0.0/0"), "eth0", ip_address(OUTSIDE[0]))
    gateway = ip_address("169.254.1.1")
    for number, (pod, address) in enumerate(PODS.items()):
        link, near, far = f"veth{number}", mac(16 + number), mac(32 + number)
        yield Veth("node", link, near, pod, "eth0", far, 1500)
        yield Route("node", ip_network(address), link)
        yield Address(pod, "eth0", ip_interface(address))
        yield Neighbour(pod, "eth0", gateway, near)
        yield Route(pod, ip_network("0.0.0.0/0"), "eth0", gateway, onlink=True)
