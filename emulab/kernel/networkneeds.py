"""What some networks of pods need of the kernel, and not every lab: tried, as `emulab.kernel.probe` tries the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from emulab.errors import EmulabError, KernelError
from emulab.kernel.network import KernelNetwork
from emulab.plan.links import Ipip, IpipEnd, Item, Route, RouteTunnel, TunnelVxlan, Wireguard
from emulab.plan.state import Namespace, Network


class NetworkNeed(NamedTuple):
    name: str
    purpose: str
    remedy: str
    attempt: Callable[[], None]
    """Raises EmulabError. In a process of its own, or one that may make namespaces."""


def _ipip() -> None:
    _apply("the kernel has no IP in IP", Ipip("a", 1480))


def _ip6_tunnel() -> None:
    _apply("the kernel has no tunnels in IPv6", IpipEnd("a", "end", ip_address("fd00::1")))


def _tunnel_routes() -> None:
    to, tunnel = ip_address("10.0.0.1"), RouteTunnel(ip_address("192.0.2.1"), 1)
    route = Route("a", ip_network("10.0.0.0/24"), "x0", to, onlink=True, tunnel=tunnel)
    _apply(
        "the kernel has no routes into tunnels",
        TunnelVxlan("a", "x0", "02:00:00:00:00:01", 1450, 8472),
        route,
    )


def _apply(lack: str, *items: Item) -> None:
    network = KernelNetwork()
    try:
        network.apply(Network({"a": Namespace("a")}, frozenset(items)))
    except KernelError:
        raise EmulabError(lack) from None
    finally:
        network.close()


def _wireguard() -> None:
    network = KernelNetwork()
    try:
        network.apply(Network({"a": Namespace("a")}, frozenset({Wireguard("a", "wg", 1420)})))
    except KernelError:
        raise EmulabError("the kernel has no WireGuard") from None
    finally:
        network.close()


NEEDS = {
    need.name: need
    for need in (
        NetworkNeed(
            "ipip",
            "network mode ipip, kube-router.io/service.dsr",
            "modprobe ipip, or use a kernel with CONFIG_NET_IPIP (Debian: linux-image-amd64)",
            _ipip,
        ),
        NetworkNeed(
            "ip6_tunnel",
            "kube-router.io/service.dsr in IPv6",
            "modprobe ip6_tunnel, or use a kernel with CONFIG_IPV6_TUNNEL (Debian: linux-image-amd64)",
            _ip6_tunnel,
        ),
        NetworkNeed(
            "wireguard",
            "network mode wireguard",
            "modprobe wireguard, or use a kernel with CONFIG_WIREGUARD (Debian: linux-image-amd64)",
            _wireguard,
        ),
        NetworkNeed(
            "tunnel routes",
            "network plugin cilium, mode vxlan",
            "use a kernel with CONFIG_LWTUNNEL (Debian: linux-image-amd64)",
            _tunnel_routes,
        ),
    )
}
"""By the names that the networks give them (`emulab.plan.cni.plugin`, `emulab.plan.cni.receivers`)."""


def lack_of(what: str, needs: Iterable[str]) -> str:
    """Why something of a network can't work here, in one line; "" where it can. Blocks."""
    for need in map(NEEDS.__getitem__, needs):
        try:
            need.attempt()
        except EmulabError as error:
            return f"{what} can't work here: {error}; {need.remedy}"
    return ""
