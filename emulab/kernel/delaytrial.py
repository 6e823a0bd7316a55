"""How long this kernel's delay lines hold a packet, measured: a wire of two places, with and without."""

from __future__ import annotations

import socket
import statistics
import time
from functools import partial
from ipaddress import ip_interface
from typing import NamedTuple

from emulab.errors import EmulabError
from emulab.kernel import netns
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.trafficcontrol import RTM_GETQDISC, TC
from emulab.kernel.network import KernelNetwork
from emulab.plan.draft import FABRIC
from emulab.plan.impaired import KEY, Cable, Impairment, spliced, wires_of
from emulab.plan.links import Address, Bridge, Item, Veth
from emulab.plan.state import Namespace, Network, World

DELAY = 1_000_000  # nanoseconds
_TIMES = 40
_MAC = "02:00:00:00:01:{:02x}"
_ADDRESSES = ip_interface("192.0.2.1/24"), ip_interface("192.0.2.2/24")  # RFC 5737; in namespaces of our own
_PORT = 7  # of echo


class MeasuredDelay(NamedTuple):
    """By what packets are held, and for how many nanoseconds: at the least, in the middle, and at the most."""

    kind: str
    least: float
    middle: float
    most: float

    @property
    def text(self) -> str:
        shown = [f"{value / 1e6:.3f}" for value in (self.middle, self.least, self.most)]
        return (
            f"by {self.kind}, {DELAY / 1e6:g} ms is {shown[0]} ms ({shown[1]} to {shown[2]} for nine of ten)"
        )


def measured() -> MeasuredDelay:
    """Builds a wire, sends packets over it, and takes it down. Blocks for a tenth of a second. Raises EmulabError."""
    whole, held = _wires()
    kernel = KernelNetwork()
    try:
        kernel.apply(whole)
        one, other = (
            netns.inside(kernel.handles[name].fd, partial(_bound, str(own.ip)))
            for name, own in zip("ab", _ADDRESSES, strict=True)
        )
        usual = statistics.median(round_trips(one, other))
        kernel.apply(held)
        taken = sorted(trip - usual for trip in round_trips(one, other))
        known = dump(netns.open_rtnl(kernel.handles[FABRIC]), RTM_GETQDISC, TC.encode({}), "read queueing")
        kinds = {TC.decode(body).get("TCA_KIND") for body in known}
    finally:
        kernel.close()
    return MeasuredDelay(
        "netem" if "netem" in kinds else "HTB",
        taken[len(taken) // 20],
        statistics.median(taken),
        taken[-1 - len(taken) // 20],
    )


def _wires() -> tuple[Network, Network]:
    """Two places on a bridge; and the same with one direction of one cable held."""
    names = {FABRIC: Namespace(FABRIC), "a": Namespace("a"), "b": Namespace("b")}
    items: set[Item] = {Bridge(FABRIC, "vpc", _MAC.format(0), 1500)}
    for number, (name, own) in enumerate(zip("ab", _ADDRESSES, strict=True), 1):
        ends = _MAC.format(number), name, "eth0", _MAC.format(number + 8)
        items |= {Veth(FABRIC, name, *ends, 1500, "vpc"), Address(name, "eth0", own)}
    whole = Network(names, frozenset(items))
    more = spliced(wires_of(World(whole, {}, {})), {"b": Cable(to=Impairment(delay=DELAY))})
    return whole, Network(names, whole.items.union(more.items), {KEY: more.rules})


def _bound(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, _PORT))
    sock.settimeout(5)  # a machine that is busy elsewhere loses nothing in one second
    return sock


def round_trips(one: socket.socket, other: socket.socket, times: int = _TIMES) -> list[int]:
    """How long packets take from one to the other and back; the first, which asks for addresses, isn't counted."""
    found = []
    try:
        for _ in range(times + 1):
            begun = time.perf_counter_ns()
            one.sendto(b"", other.getsockname())
            other.sendto(b"", other.recvfrom(1)[1])
            one.recv(1)
            found.append(time.perf_counter_ns() - begun)
    except TimeoutError:
        raise EmulabError("packets get lost on wires that hold them") from None
    return found[1:]
