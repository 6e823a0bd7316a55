"""Namespaces that a process makes ahead of the plan, and what becomes of those that the plan hasn't."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from namespaces import ip, isolated
from test_network import NODE, POD, network

from emulab.errors import KernelError
from emulab.kernel import ahead, netns
from emulab.kernel.network import KernelNetwork
from emulab.memoryfile import memory_file
from emulab.plan.state import Namespace

PORTS = "net/ipv4/ip_unprivileged_port_start"
MORE = [Namespace(f"pod-{n}", ((PORTS, str(n)),)) for n in range(ahead.LOT + 3)]


def told(namespaces: list[Namespace]) -> socket.socket:
    """A socket on which they come."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def serve() -> None:
        with theirs:
            ahead.serve(theirs)

    with memory_file(ahead.told(namespaces)) as file:
        socket.send_fds(ours, [b" "], [file.fileno()])
        threading.Thread(target=serve).start()
        ours.settimeout(60)
    return ours


def ports_of(handle: netns.Handle) -> int:
    return int(netns.inside(handle.fd, Path("/proc/sys", PORTS).read_text))


@isolated
def test_they_come_in_order_with_their_settings_and_can_be_talked_to() -> None:
    control = told(MORE)
    made = ahead.receive(control, MORE[: ahead.LOT])
    assert len(made) == ahead.LOT
    made += ahead.receive(control, MORE[ahead.LOT :])
    assert [handle.name for handle in made] == [n.name for n in MORE]
    assert [ports_of(handle) for handle in made] == [*range(len(MORE))]
    assert len({os.fstat(handle.fd).st_ino for handle in made}) == len(MORE)
    assert {link["ifname"] for link in ip(made[-1], "link", "show")} == {"lo"}
    assert made[-1].rtnl is not None and made[-1].rtnl.getsockname()[0], "it is bound, and in there"
    assert not ahead.receive(control, []), "nothing more comes"


@isolated
def test_what_cannot_be_made_ends_it() -> None:
    real = netns.create

    def create(namespaces: list[Namespace]) -> list[netns.Handle]:
        if namespaces[0].name != MORE[0].name:
            raise KernelError("make a network namespace")
        return real(namespaces)

    ahead.netns.create = create  # type: ignore[attr-defined]  # in this process alone
    control = told(MORE)
    assert len(ahead.receive(control, MORE)) == ahead.LOT
    assert not ahead.receive(control, MORE[ahead.LOT :])


@isolated
def test_descriptors_that_found_no_room_leave_nothing_behind() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        socket.send_fds(theirs, [b"[false, false]"], [theirs.fileno()] * 3)
        before = len(os.listdir("/proc/self/fd"))
        assert not ahead.receive(ours, MORE[:2])
        assert len(os.listdir("/proc/self/fd")) == before


@isolated
def test_a_network_takes_those_that_it_has_and_closes_the_others() -> None:
    wanted = network(NODE | POD)
    pod = wanted.namespaces["pod"]
    mine, other = netns.create([pod, Namespace("other")])
    world = KernelNetwork()
    world.ahead = {pod: mine, Namespace("other"): other}
    world.apply(wanted)
    assert world.handles["pod"] is mine and not world.ahead
    assert "eth0" in {link["ifname"] for link in ip(mine, "link", "show")}
    assert other.fd == -1
    (late,) = netns.create([Namespace("late")])
    world.ahead = {Namespace("late"): late}
    world.apply(wanted)
    assert late.fd == -1, "where nothing changes, too"
    world.close()
