"""The networks of pods, one lab each: what there is on nodes and in pods, Services, policies and traces, by packets.

What is said of links, routes and addresses is what the real ones make; emulab/plan/cni/ says where that is to be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.kernel.processes.programs import run_program
from emulab.kinds.emulab.podnetworks import NETWORKS

from .proxyworld import pod, service
from .tools import CLIENT, NODE1, NODE2, OF_ROOT, cluster_ip, output

pytestmark = pytest.mark.asyncio(loop_scope="module")


PODS = ("web", "near", "far")


class Known(NamedTuple):
    """What is to be seen. Routes are those of node1, without those of its underlay; `{web}`: the link of that pod."""

    families: str
    mtu: int
    links: str  # a regular expression of the node's end of a pod's link
    routes: tuple[str, ...]
    routes6: tuple[str, ...]
    in_pod: tuple[str, ...]
    hops: tuple[str, ...]  # interfaces of nodes on the way from a pod of node2 to one of node1
    itself: str  # what a pod is seen as by itself, by its Service
    node2: str = NODE2  # with what that node masquerades towards a pod of another one
    first: int = 2  # the number of a node's first pod in its range
    node_sees_pods: bool = False  # whether a pod is seen as itself by another node

    def address(self, name: str, six: bool = False) -> str:
        """The address of a pod."""
        node, number = (2, self.first) if name == "far" else (1, self.first + PODS.index(name))
        return f"fd00:244:0:{node}::{number:x}" if six else f"10.244.{node}.{number}"


KNOWN = {
    "bridge-routed": Known(
        "[IPv4, IPv6]",
        1500,
        r"veth[0-9a-f]{11}",
        (
            "10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1",
            "10.244.2.0/24 via 10.0.0.12 dev eth0",
        ),
        ("fd00:244:0:1::/64 dev cni0 proto kernel", "fd00:244:0:2::/64 via fd00:10::c dev eth0"),
        ("default via 10.244.1.1 dev eth0", "10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.2"),
        ("node2 {far}", "node2 cni0", "node2 eth0", "node1 eth0", "node1 cni0", "node1 {web}"),
        "10.244.1.1",
    ),
    "kindnet-routed": Known(
        "[IPv4, IPv6]",
        1500,
        r"veth[0-9a-f]{11}",
        ("10.244.1.2 dev {web} scope link", "10.244.2.0/24 via 10.0.0.12 dev eth0"),
        ("fd00:244:0:1::2 dev {web}", "fd00:244:0:2::/64 via fd00:10::c dev eth0"),
        (
            "default via 10.244.1.1 dev eth0",
            "10.244.1.0/24 via 10.244.1.1 dev eth0 src 10.244.1.2",
            "10.244.1.1 dev eth0 scope link src 10.244.1.2",
        ),
        ("node2 {far}", "node2 eth0", "node1 eth0", "node1 {web}"),
        "10.244.1.1",
    ),
    "calico-vxlan": Known(
        "[IPv4, IPv6]",
        1430,
        r"cali[0-9a-f]{11}",
        (
            "10.244.1.1 dev {web} scope link",
            "blackhole 10.244.1.0/26",
            "10.244.2.0/26 via 10.244.2.0 dev vxlan.calico onlink",
        ),
        (
            "fd00:244:0:1::1 dev {web}",
            "blackhole fd00:244:0:1::/122 dev lo",
            "fd00:244:0:2::/122 via fd00:244:0:2:: dev vxlan-v6.calico onlink",
        ),
        ("default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"),
        (
            "node2 {far}",
            "node2 vxlan.calico",
            "node2 eth0",
            "node1 eth0",
            "node1 vxlan.calico",
            "node1 {web}",
        ),
        NODE1,
        "10.244.2.0",
        first=1,
    ),
}
KNOWN["calico-ipip"] = KNOWN["calico-vxlan"]._replace(
    families="[IPv4]",
    mtu=1480,
    routes=("10.244.1.1 dev {web} scope link", "10.244.2.0/26 via 10.0.0.12 dev tunl0 onlink"),
    routes6=(),
    hops=("node2 {far}", "node2 tunl0", "node2 eth0", "node1 eth0", "node1 tunl0", "node1 {web}"),
    itself="10.244.1.0",  # of the first link that has an address: tunl0 was there before eth0
)
KNOWN["flannel-wireguard"] = Known(
    "[IPv4, IPv6]",
    1420,
    r"veth[0-9a-f]{11}",
    ("10.244.1.2 dev {web} scope link", "10.244.0.0/16 dev flannel-wg scope link"),
    ("fd00:244:0:1::2 dev {web}", "fd00:244::/48 dev flannel-wg-v6"),
    ("default via 169.254.1.1 dev eth0 onlink",),
    ("node2 {far}", "node2 flannel-wg", "node1 flannel-wg", "node1 {web}"),
    NODE1,
    "10.244.2.0",
)
KNOWN["calico-bgp"] = KNOWN["calico-vxlan"]._replace(
    mtu=1500,
    routes=(
        "10.244.1.1 dev {web} scope link",
        "blackhole 10.244.1.0/26 proto bird",
        "10.244.2.0/26 via 10.0.0.12 dev eth0 proto bird",
    ),
    routes6=(
        "fd00:244:0:1::1 dev {web}",
        "blackhole fd00:244:0:1::/122 dev lo proto bird",
        "fd00:244:0:2::/122 via fd00:10::c dev eth0 proto bird",
    ),
    hops=("node2 {far}", "node2 eth0", "node1 eth0", "node1 {web}"),
    node2=NODE2,
)
KNOWN["cilium-vxlan"] = Known(
    "[IPv4, IPv6]",
    1430,
    r"lxc[0-9a-f]{11}",
    (
        "10.244.1.2 dev {web} scope link",
        "10.244.2.0/24  encap ip id 2 src 0.0.0.0 dst 10.0.0.12 ttl 0 tos 0 via 10.244.2.1 dev cilium_vxlan onlink",
    ),
    ("fd00:244:0:1::2 dev {web}",),
    ("default via 10.244.1.1 dev eth0", "10.244.1.1 dev eth0 scope link"),
    (
        "node2 {far}",
        "node2 cilium_vxlan",
        "node2 eth0",
        "node1 eth0",
        "node1 cilium_vxlan",
        "node1 {web}",
    ),
    NODE1,
    "10.244.2.1",
)
KNOWN["cilium-routed"] = KNOWN["cilium-vxlan"]._replace(
    mtu=1500,
    routes=("10.244.1.2 dev {web} scope link", "10.244.2.0/24 via 10.0.0.12 dev eth0"),
    routes6=("fd00:244:0:1::2 dev {web}", "fd00:244:0:2::/64 via fd00:10::c dev eth0"),
    hops=("node2 {far}", "node2 eth0", "node1 eth0", "node1 {web}"),
    node2=NODE2,
    node_sees_pods=True,
)
KNOWN["kube-router-bgp"] = KNOWN["bridge-routed"]._replace(
    routes=(
        "10.244.1.0/24 dev kube-bridge proto kernel scope link src 10.244.1.1",
        "10.244.2.0/24 via 10.0.0.12 dev eth0 proto bird",
    ),
    routes6=(
        "fd00:244:0:1::/64 dev kube-bridge proto kernel",
        "fd00:244:0:2::/64 via fd00:10::c dev eth0 proto bird",
    ),
    hops=(
        "node2 {far}",
        "node2 kube-bridge",
        "node2 eth0",
        "node1 eth0",
        "node1 kube-bridge",
        "node1 {web}",
    ),
    node_sees_pods=True,
)
"""By plug-in and mode; flannel's are those of all other tests. kube-router's own proxy is looked at in tests/vm."""

NEEDING = {"calico-ipip", "flannel-wireguard"}
"""Those that need more than this machine's kernel may have."""
PARAMETERS = [
    pytest.param(
        name,
        marks=[pytest.mark.vm] if name in NEEDING else OF_ROOT if name.startswith("cilium") else [],
    )
    for name in KNOWN
]

WORLD = (
    pod("web", "node1", ports="{name: http, containerPort: 8080, hostPort: 8888}")
    + pod("near", "node1")
    + pod("far", "node2")
    + pod("own", "node1", ports="{containerPort: 9090}").replace("spec: {", "spec: {hostNetwork: true, ")
    + service(
        "web",
        "{selector: {app: web}, type: NodePort, ipFamilyPolicy: PreferDualStack,"
        " ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}]}",
    )
    + service("own", "{selector: {app: own}, ports: [{port: 9090}]}")
)
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: ALLOWED}}}], ports: [{port: 8080}]}]
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=PARAMETERS)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    plugin, _, mode = request.param.rpartition("-")
    network = f"{{plugin: {plugin}, mode: {mode}, families: {KNOWN[request.param].families}}}"
    cluster = (
        f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: c}}\nspec: {{network: {network},"
        f" {'proxy: {mode: nftables}, ' * (plugin == 'kube-router')}ingress: {{replicas: 0}}}}\n---"
    )
    async with Lab.from_text(cluster + WORLD) as made:
        yield made


@pytest.fixture
def known(lab: Lab, request: pytest.FixtureRequest) -> Known:
    return KNOWN[request.node.callspec.params["lab"]]


async def test_every_network_is_tried() -> None:
    every = {f"{plugin}-{mode}" for plugin, modes in NETWORKS.items() for mode in modes}
    assert every - KNOWN.keys() <= {"flannel-vxlan", "flannel-routed"}


async def link_of(lab: Lab, name: str) -> str:
    """The node's end of a pod's link."""
    [link] = json.loads(await output(lab, f"pod/{name}", "ip", "-j", "link", "show", "eth0"))
    node = "node2" if name == "far" else "node1"
    there = json.loads(await output(lab, node, "ip", "-j", "link"))
    found = [one["ifname"] for one in there if one["ifindex"] == link["link_index"]]
    assert len(found) == 1
    return str(found[0])


async def routes(lab: Lab, place: str, family: str = "-4") -> list[str]:
    """The routes of a place, in the words of iproute2, but for those of the underlay and of link-local addresses."""
    shown = await output(lab, place, "ip", family, "route")
    plain = (
        re.sub(r" (proto static|metric \d+|pref medium)", "", line).strip() for line in shown.splitlines()
    )
    return [
        line
        for line in plain
        if not re.match(r"default via (10\.0\.0|fd00:10::)|10\.0\.0\.0/|fd00:10::|fe80", line)
    ]


async def seen_as(lab: Lab, source: str, url: str) -> str:
    """The address that the pod sees as its client's."""
    answer = await lab.request(url, source=source)
    assert answer.status == 200, answer
    return str(answer.json()["client"]).rpartition(":")[0].strip("[]")


async def test_links_routes_and_mtu_are_the_real_ones(lab: Lab, known: Known) -> None:
    web = await link_of(lab, "web")
    assert re.fullmatch(known.links, web), web
    for place, link in (("pod/web", "eth0"), ("node1", web)):
        [shown] = json.loads(await output(lab, place, "ip", "-j", "link", "show", link))
        assert shown["mtu"] == known.mtu
    at_node = json.loads(await output(lab, "node1", "ip", "-j", "link"))
    own = [one["ifname"] for one in at_node if one["ifname"] != "lo" and "NOARP" not in one["flags"]]
    assert own[0] == "eth0", "the kernel takes an address of the first link where it takes any"
    for family, wanted in (("-4", known.routes), ("-6", known.routes6)):
        there = await routes(lab, "node1", family)
        missing = [line for line in wanted if line.format(web=web) not in there]
        assert not missing, "\n".join(there)
    assert {*known.in_pod} <= {*await routes(lab, "pod/web")}


async def test_services_lead_to_pods_and_show_who_asks(lab: Lab, known: Known) -> None:
    """A pod as itself, from either node, in each family; a pod that asks itself, and who comes by a node's port."""
    [found] = await lab.get("Service", "web", "default")
    for address in found["spec"]["clusterIPs"]:
        six = ":" in address
        url = f"http://[{address}]/" if six else f"http://{address}/"
        for name in ("near", "far"):
            assert await seen_as(lab, f"pod/{name}", url) == known.address(name, six)
        itself = await seen_as(lab, "pod/web", url)
        assert six or itself == known.itself
    assert await seen_as(lab, "client", f"http://{NODE1}:8888/") == CLIENT
    assert await seen_as(lab, "client", f"http://{NODE2}:30080/") == known.node2
    assert (await lab.request("http://web.default.svc.cluster.local/", source="pod/far")).json()[
        "pod"
    ] == "web"


async def test_programs_of_a_node_see_who_asks(lab: Lab, known: Known) -> None:
    """The node itself, its own pods, and those of another node, which most networks masquerade."""
    far = known.address("far") if known.node_sees_pods else NODE2
    for source, seen in (("node1", NODE1), ("pod/near", known.address("near")), ("pod/far", far)):
        assert await seen_as(lab, source, f"http://{NODE1}:9090/") == seen


async def test_pools_of_calico_say_who_is_masqueraded(lab: Lab, known: Known) -> None:
    url, pools = f"http://{NODE1}:9090/", await lab.get("IPPool")
    [web] = [found for found in await lab.get("Pod") if found["metadata"]["name"] == "web"]
    families = len(web["status"]["podIPs"])
    assert len(pools) == (families if known.links.startswith("cali") else 0), "one of each family"
    for pool in pools:
        plain = {key: pool[key] for key in ("apiVersion", "kind")} | {
            "metadata": {"name": pool["metadata"]["name"]}
        }
        if ":" not in pool["spec"]["cidr"]:
            await lab.apply(json.dumps({**plain, "spec": {**pool["spec"], "natOutgoing": False}}))
            assert await seen_as(lab, "pod/far", url) == known.address("far")
            await lab.apply(json.dumps({**plain, "spec": pool["spec"]}))
            assert await seen_as(lab, "pod/far", url) == NODE2


async def test_policies_hold_on_a_node_and_between_nodes(lab: Lab, known: Known) -> None:
    url, service = f"http://{known.address('web')}:8080/", f"http://{await cluster_ip(lab, 'web')}/"
    for allowed, denied in (("near", "far"), ("far", "near")):
        await lab.apply(POLICY.replace("ALLOWED", allowed))
        for asked in (url, service):
            assert await seen_as(lab, f"pod/{allowed}", asked) == known.address(allowed)
            assert (await lab.request(asked, source="node1")).status == 200, "a node reaches its own pods"
        with pytest.raises(TimeoutError):
            await lab.request(url, source=f"pod/{denied}", timeout=0.7)
    await lab.delete("NetworkPolicy", "web")


async def test_pods_that_policies_are_about_find_each_other_anew(lab: Lab) -> None:
    """What a bridge passes on is filtered, too, and that is how a pod finds another one in IPv6."""
    await lab.apply(POLICY.replace("ALLOWED", "near"))
    [web] = [found for found in await lab.get("Pod") if found["metadata"]["name"] == "web"]
    for address in (one["ip"] for one in web["status"]["podIPs"]):
        for name in ("web", "near"):
            await output(lab, f"default.{name}", "ip", "neigh", "flush", "dev", "eth0")
        host = f"[{address}]" if ":" in address else address
        assert (await lab.request(f"http://{host}:8080/", source="pod/near")).status == 200
    await lab.delete("NetworkPolicy", "web")


async def test_a_trace_names_every_hop(lab: Lab, known: Known) -> None:
    address, names = await cluster_ip(lab, "web"), {n: await link_of(lab, n) for n in PODS}
    path = await lab.trace(f"http://{address}/", source="pod/far")
    assert path.status == 200
    request = [hop for hop in path.hops if hop.direction == "request"]
    ways = [f"{hop.place} {hop.interface}" for hop in request if hop.place.startswith("node")]
    assert [*dict.fromkeys(ways)] == [hop.format(**names) for hop in known.hops]
    (dnat,) = [hop for hop in request if hop.event == "dnat"]
    assert dnat.place == "node2" and "Service default/web port 80" in dnat.object
    assert {hop.place for hop in request if hop.event == "deliver"} == {"default.web"}
    path = await lab.trace(f"http://{address}/", source="pod/near")
    (dnat,) = [hop for hop in path.hops if hop.event == "dnat"]
    assert (dnat.place, dnat.interface) == ("node1", names["near"])


async def test_a_filter_matches_on_every_link(lab: Lab, known: Known, tmp_path: Path) -> None:
    """On those without a header of Ethernet, too: tunl0, and WireGuard's."""
    file = tmp_path / "seen.pcapng"
    async with lab.capture(file, "node2", filter="tcp dst port 8080"):
        await seen_as(lab, "pod/far", f"http://{known.address('web')}:8080/")
    shown = await run_program(["tshark", "-r", str(file), "-T", "fields", "-e", "frame.interface_name"])
    far = await link_of(lab, "far")
    places = [hop.format(far=far, web="").partition(" ") for hop in known.hops]
    devices = [link for place, _, link in places if place == "node2" and link != "eth0"]
    assert {one.rpartition(" ")[2].rpartition("/")[2] for one in shown.text.splitlines()} >= {*devices}
