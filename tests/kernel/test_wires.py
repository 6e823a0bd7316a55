"""Wires that hold what they carry, as this kernel can do it."""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import ip_interface

from namespaces import isolated

from emulab.kernel import delaytrial, netns
from emulab.kernel.network import KernelNetwork
from emulab.plan.draft import FABRIC, mac
from emulab.plan.impaired import KEY, Cable, Impairment, Toward, spliced, wires_of
from emulab.plan.links import Address, Bridge, Item, Veth
from emulab.plan.state import Namespace, Network, World

PLACES = {name: ip_interface(f"192.0.2.{number}/24") for number, name in enumerate("abc", 1)}
HELD = 20_000_000


@isolated
def test_a_wire_holds_packets_for_as_long_as_it_is_to() -> None:
    held = delaytrial.measured()
    # Never shorter; how much longer depends on who else works on this machine.
    assert 0.98 * delaytrial.DELAY < held.least <= held.middle < 4 * delaytrial.DELAY, held


def bound(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(PLACES[name].ip), 7))
    sock.settimeout(5)
    return sock


@isolated
def test_a_wire_can_hold_what_is_for_some_places_alone() -> None:
    items: set[Item] = {Bridge(FABRIC, "vpc", mac("vpc"), 1500)}
    for name, own in PLACES.items():
        wire = Veth(FABRIC, name, mac(name, "port"), name, "eth0", mac(name), 1500, "vpc")
        items |= {wire, Address(name, "eth0", own)}
    names = {name: Namespace(name) for name in (FABRIC, *PLACES)}
    whole = Network(names, frozenset(items))
    cable = Cable(Impairment(rate=100_000_000), toward=(Toward(("b",), Impairment(delay=HELD)),))
    more = spliced(wires_of(World(whole, {}, {})), {"a": cable})
    slow = Network(names, whole.items.union(more.items), {KEY: more.rules})
    kernel = KernelNetwork()
    kernel.apply(slow)
    sockets = {name: netns.inside(kernel.handles[name].fd, partial(bound, name)) for name in PLACES}

    def quickest(one: str, other: str) -> int:
        return min(delaytrial.round_trips(sockets[one], sockets[other], 5))

    assert quickest("a", "b") >= HELD > quickest("a", "c")
    assert quickest("b", "c") < HELD
    kernel.apply(whole)
    assert quickest("a", "b") < HELD
    kernel.close()
