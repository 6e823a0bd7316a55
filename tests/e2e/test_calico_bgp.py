"""Calico by BGP: what BIRD says on nodes and on the router, and what becomes of routes when something changes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.plan.cni.speakers import MESH

from .proxyworld import HTTP, pod, service
from .tools import eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")


def cluster(nodes: int = 2, mode: str = "bgp") -> str:
    network = f"{{plugin: calico, mode: {mode}, families: [IPv4, IPv6]}}"
    return (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\n"
        f"spec: {{nodes: {nodes}, network: {network}, ingress: {{replicas: 0}}}}\n---"
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(cluster() + pod("web", "node1") + pod("far", "node2")) as made:
        yield made


async def sessions(lab: Lab, place: str) -> dict[str, str]:
    """The sessions of a place by their names, with their states, as birdc shows them."""
    shown = await output(lab, place, "birdc", "show", "protocols")
    return dict(re.findall(r"^(\S+)\s+BGP\s.*\s(\S+)\s*$", shown, re.MULTILINE))


async def routes(lab: Lab, place: str) -> list[str]:
    """BIRD's routes in the kernel."""
    both = [
        await output(lab, place, "ip", family, "route", "show", "proto", "bird") for family in ("-4", "-6")
    ]
    lines = [line for shown in both for line in shown.splitlines()]
    return [re.sub(r" (metric \d+|pref medium)", "", line).strip() for line in lines]


async def reaches(lab: Lab) -> bool:
    answers = [
        await lab.exec("pod/far", "curl", "-s", "-m", "1", f"http://{host}:8080/hostname")
        for host in ("10.244.1.1", "[fd00:244:0:1::1]")
    ]
    return all(answer.status == 0 for answer in answers)


async def bird(lab: Lab, node: str) -> int:
    """The process number of a node's BIRD, as the lab's processes have it."""
    shown = await output(lab, node, "pgrep", "-x", "bird")
    nets = {
        await output(lab, node, "readlink", f"/proc/{number}/ns/net"): int(number) for number in shown.split()
    }
    return nets[await output(lab, node, "readlink", "/proc/self/ns/net")]


async def test_sessions_are_up_as_soon_as_the_lab_is(lab: Lab) -> None:
    for place, theirs in (("node1", "c"), ("node2", "b")):
        number = {"c": 12, "b": 11}[theirs]
        assert await sessions(lab, place) == {
            f"Mesh_10_0_0_{number}": "Established",
            f"Mesh_fd00_10__{theirs}": "Established",
            "Global_10_0_0_1": "Established",
            "Global_fd00_10__1": "Established",
        }
    assert await reaches(lab)


async def test_the_router_knows_the_way_to_pods(lab: Lab) -> None:
    there = await routes(lab, "router")
    for wanted in ("10.244.1.0/26 via 10.0.0.11 dev vpc", "fd00:244:0:2::/122 via fd00:10::c dev vpc"):
        assert wanted in there, there
    assert set((await sessions(lab, "router")).values()) == {"Established", "Passive"}


async def test_the_configuration_is_there_to_be_read(lab: Lab) -> None:
    text = await output(lab, "node1", "cat", "/etc/bird/bird.conf")
    assert "route 10.244.1.0/26 blackhole;" in text


async def test_a_killed_bird_is_back_and_no_route_was_lost(lab: Lab) -> None:
    """Graceful restart: others keep a speaker's routes while it is away (RFC 4724), and so does its own node."""
    before, there = await bird(lab, "node1"), [await routes(lab, place) for place in ("node1", "node2")]
    await output(lab, "node1", "kill", "-KILL", str(before))
    assert [await routes(lab, place) for place in ("node1", "node2")] == there
    assert await reaches(lab)

    async def is_back() -> bool:
        return set((await sessions(lab, "node2")).values()) == {"Established"}

    async def is_another() -> bool:
        found = await lab.exec("node1", "birdc", "show", "protocols")
        return found.status == 0 and found.text.count("Established") == 4

    await eventually(is_another)
    await eventually(is_back)
    assert await bird(lab, "node1") != before
    (ended,) = [e["message"] for e in await lab.get("Event") if e["reason"] == "BGPSpeakerEnded"]
    assert ended == "bird has ended with status 137, and is started again"
    assert [await routes(lab, place) for place in ("node1", "node2")] == there
    assert await reaches(lab)


async def test_a_speaker_that_is_silent_takes_its_routes_along(lab: Lab) -> None:
    there = await routes(lab, "node2")
    await output(lab, "node1", "birdc", "disable", "all")

    async def are_gone() -> bool:
        return not any("via" in line for line in await routes(lab, "node2"))

    await eventually(are_gone)
    path = await lab.trace("http://10.244.1.1:8080/", source="pod/far")
    assert path.failure is not None and path.failure.reason == "no-route"
    assert "as it has no route to pod default/web on node1" in path.failure.text
    assert path.failure.remedy.endswith("emulab exec node2 -- birdc show protocols")
    await output(lab, "node1", "birdc", "enable", "all")

    async def are_back() -> bool:
        return await routes(lab, "node2") == there

    await eventually(are_back)
    assert await reaches(lab)


async def bgp_events(lab: Lab, node: str) -> set[tuple[str, str]]:
    """What was told of a node's sessions: reasons and messages."""
    return {
        (e["reason"], e["message"])
        for e in await lab.get("Event")
        if e["involvedObject"]["name"] == node and e["reason"].startswith("BGPSession")
    }


async def test_a_fault_shuts_a_nodes_sessions_down(lab: Lab) -> None:
    """Both ends are told of, the router's at the node, and a trace leads to the fault."""
    before = await routes(lab, "node2")
    async with lab.fault("bgp-down", "node1") as name:
        assert not any("via" in line for line in await routes(lab, "node2"))
        path = await lab.trace("http://10.244.1.1:8080/", source="pod/far")
        assert path.failure is not None and path.failure.reason == "no-route"
        assert "no route to pod default/web on node1" in path.failure.text
        assert f"fault {name}: BGP of node node1 is shut down" in path.failure.text
        assert path.failure.remedy == f"emulab fault mend {name}"
        lost = {
            "node1": ("BGPSessionDown", "the router has lost its session with fd00:10::b"),
            "node2": ("BGPSessionDown", "bird has lost its session with 10.0.0.11"),
        }

        async def are_told() -> bool:
            return all([told in await bgp_events(lab, node) for node, told in lost.items()])

        await eventually(are_told)
    assert await routes(lab, "node2") == before and await reaches(lab)

    async def are_told_again() -> bool:
        again = ("BGPSessionUp", "bird has its session with 10.0.0.11 again")
        return again in await bgp_events(lab, "node2")

    await eventually(are_told_again)


async def test_a_node_comes_and_goes(lab: Lab) -> None:
    before, speaker = await routes(lab, "node1"), await bird(lab, "node1")
    await lab.apply(cluster(nodes=3))
    new = {"10.244.3.0/26 via 10.0.0.13 dev eth0", "fd00:244:0:3::/122 via fd00:10::d dev eth0"}
    for place in ("node1", "node2"):
        assert new <= {*await routes(lab, place)}
    await lab.apply(cluster(nodes=2))
    assert await routes(lab, "node1") == before
    assert await bird(lab, "node1") == speaker and await reaches(lab)


async def test_services_forget_a_node_that_goes_before_routes_do(lab: Lab) -> None:
    """Else what is sent to its pods finds no way for as long as rules take to be written."""
    shared = service("shared", f"{{selector: {{app: shared}}, ports: [{HTTP}]}}")
    await lab.apply(
        cluster(nodes=3) + pod("near", "node1", "shared") + pod("going", "node3", "shared") + shared
    )
    (going,) = await lab.get("Pod", "going")
    address, table = going["status"]["podIP"], ("nft", "list", "table", "ip", "kube-proxy")
    assert address in await output(lab, "node1", *table)
    watch = "while ip route | grep -q 'via 10.0.0.13 '; do :; done; exec nft list table ip kube-proxy"
    rules, _ = await asyncio.gather(output(lab, "node1", "sh", "-c", watch), lab.apply(cluster(nodes=2)))
    assert "table ip kube-proxy" in rules and address not in rules
    # Nor does the router wait for a node that has gone without a word until its hold time is over.
    assert "10.0.0.13" not in await output(lab, "router", "ip", "route")
    for kind, name in (("Service", "shared"), ("Pod", "near")):
        await lab.delete(kind, name)


async def test_of_many_nodes_the_router_reflects(lab: Lab) -> None:
    before = await routes(lab, "node1")
    await lab.apply(cluster(nodes=MESH + 1))
    assert await sessions(lab, "node1") == {
        "Global_10_0_0_1": "Established",
        "Global_fd00_10__1": "Established",
    }
    there = await routes(lab, "node1")
    assert len(there) == 2 * (MESH + 1) and {*before} <= {*there}
    await lab.apply(cluster())
    assert await routes(lab, "node1") == before and await reaches(lab)


async def test_another_mode_and_back(lab: Lab) -> None:
    before = await routes(lab, "node1")
    await lab.apply(cluster(mode="vxlan"))
    assert await routes(lab, "node1") == [] == await routes(lab, "router")
    assert "dev vxlan.calico" in await output(lab, "node1", "ip", "route") and await reaches(lab)
    await lab.apply(cluster())
    assert await routes(lab, "node1") == before and await reaches(lab)


async def test_another_mode_while_a_bird_is_started_again(lab: Lab) -> None:
    """What it has left behind goes all the same."""
    before = await routes(lab, "node1")
    await output(lab, "node1", "kill", "-KILL", str(await bird(lab, "node1")))
    await lab.apply(cluster(mode="vxlan"))
    assert await routes(lab, "node1") == [] == await routes(lab, "node2")
    assert "dev vxlan.calico" in await output(lab, "node1", "ip", "route") and await reaches(lab)
    await lab.apply(cluster())
    assert await routes(lab, "node1") == before and await reaches(lab)
