"""Namespaces that somebody else has made: what a network does to one, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess

import pytest
from namespaces import ip, isolated, open_descriptors
from test_network import DEFAULT, NODE, POD, POD_LINK, network

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.names import is_network_namespace
from emulab.kernel.network import KernelNetwork
from emulab.plan.state import Namespace, Network


def with_given(wanted: Network, name: str) -> Network:
    return Network(
        {**wanted.namespaces, name: Namespace(name, given="c1/eth0")}, wanted.items, wanted.rulesets
    )


def links(handle: netns.Handle) -> set[str]:
    return {link["ifname"] for link in ip(handle, "link", "show")}


@isolated
def test_a_given_namespace_is_the_pods_and_outlives_it() -> None:
    (foreign,) = netns.create([Namespace("foreign")])
    assert is_network_namespace(foreign.fd)
    subprocess.run(
        [
            "nsenter",
            f"--net=/proc/{os.getpid()}/fd/{foreign.fd}",
            "ip",
            "link",
            "add",
            "own",
            "type",
            "bridge",
        ],
        check=True,
    )
    world = KernelNetwork()
    world.given["c1/eth0"] = os.dup(foreign.fd)
    world.apply(with_given(network(NODE | POD), "pod"))
    assert world.given == {}, "it is the network's now"
    assert os.fstat(world.handles["pod"].fd).st_ino == os.fstat(foreign.fd).st_ino
    assert links(foreign) == {"lo", "own", "eth0"}
    world.apply(network(NODE))
    assert links(foreign) == {"lo", "own"}, "what is its owner's stays"
    world.close()


@isolated
def test_what_was_made_beside_one_that_cannot_be_entered_is_undone() -> None:
    world = KernelNetwork()
    base = network(NODE)
    world.apply(base)
    descriptors = open_descriptors()
    world.given["c1/eth0"] = os.open("/dev/null", os.O_RDONLY)
    wanted = with_given(network(NODE | POD), "pod")
    others = {**wanted.namespaces, "other": Namespace("other"), "another": Namespace("another")}
    with pytest.raises(KernelError, match="enter a network namespace that was handed over in pod"):
        world.apply(Network(others, wanted.items, wanted.rulesets))
    assert world.applied == base and world.handles.keys() == base.namespaces.keys()
    assert open_descriptors() == descriptors
    world.close()


@isolated
def test_a_link_that_its_owner_has_removed_is_gone() -> None:
    (foreign,) = netns.create([Namespace("foreign")])
    world = KernelNetwork()
    world.given["c1/eth0"] = os.dup(foreign.fd)
    world.apply(with_given(network(NODE | POD), "pod"))
    subprocess.run(
        ["nsenter", f"--net=/proc/{os.getpid()}/fd/{foreign.fd}", "ip", "link", "del", "eth0"], check=True
    )
    world.apply(network(NODE))
    assert "pod" not in world.handles and POD_LINK.name not in links(world.handles["node"])
    world.apply(network(NODE - {DEFAULT}))  # it goes on
    world.close()


@isolated
def test_what_nobody_has_given_is_made() -> None:
    world = KernelNetwork()
    world.apply(with_given(network(NODE | POD), "pod"))
    assert links(world.handles["pod"]) == {"lo", "eth0"}
    world.close()


@isolated
def test_links_of_others_take_none_of_our_numbers() -> None:
    """A plug-in's links have the kernel's next indexes, and a link that is planned later has one that is free."""
    world = KernelNetwork()
    world.apply(network(NODE))
    node = world.handles["node"]
    node.share()
    for number in range(20):
        subprocess.run(
            [
                "nsenter",
                f"--net=/proc/{os.getpid()}/fd/{node.fd}",
                "ip",
                "link",
                "add",
                f"x{number}",
                "type",
                "bridge",
            ],
            check=True,
        )
    world.apply(network(NODE | POD))
    assert POD_LINK.name in links(node)
    world.close()


def test_other_files_are_no_network_namespaces() -> None:
    for path in ("/dev/null", "/proc/self/ns/mnt", "/"):
        fd = os.open(path, os.O_RDONLY)
        assert not is_network_namespace(fd)
        os.close(fd)
