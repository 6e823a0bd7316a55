"""kube-router with its own proxy, in whole labs: what is on nodes, who sees whom, and what annotations do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from e2e.proxyworld import pod, service
from e2e.test_pod_networks import POLICY, seen_as
from e2e.tools import CLIENT, NODE1, NODE2, connect, output

from emulab import Lab
from emulab.kernel import plugins

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {network: {plugin: kube-router, families: [IPv4, IPv6]}, ingress: {replicas: 0}}
---"""
WEB, WEB6, ALONE, LOCAL, NOBODY = "10.96.1.7", "fd00:96::17", "10.96.1.8", "10.96.1.9", "10.96.1.10"
INNER = "10.96.1.11"
OUTSIDE, DIRECT, DIRECT6 = "203.0.113.77", "203.0.113.78", "2001:db8:99::78"
PORTS = "ports: [{port: 80, targetPort: 8080"
REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
OUT = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out}
spec:
  podSelector: {matchLabels: {app: far}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: ALLOWED/32}}]}]
"""


def annotated(name: str, spec: str, annotations: str = "") -> str:
    return service(name, spec).replace(
        f"metadata: {{name: {name}", f"metadata: {{annotations: {{{annotations}}}, name: {name}"
    )


WORLD = (
    pod("web", "node1")
    + pod("near", "node1")
    + pod("far", "node2")
    + annotated(
        "web",
        f"{{selector: {{app: web}}, type: NodePort, clusterIPs: [{WEB}, '{WEB6}'], ipFamilyPolicy: RequireDualStack,"
        f" externalIPs: [{OUTSIDE}], {PORTS}, nodePort: 30080}}]}}",
        'kube-router.io/service.scheduler: lc, kube-router.io/service.advertise.externalip: "true"',
    )
    + annotated(
        "itself",
        f"{{selector: {{app: web}}, type: NodePort, clusterIP: {ALONE}, {PORTS}, nodePort: 30082}}]}}",
        'kube-router.io/service.hairpin: ""',
    )
    + service(
        "inner", f"{{selector: {{app: web}}, internalTrafficPolicy: Local, clusterIP: {INNER}, {PORTS}}}]}}"
    )
    + annotated(
        "local",
        f"{{selector: {{app: web}}, type: NodePort, clusterIP: {LOCAL}, {PORTS}, nodePort: 30081}}]}}",
        'kube-router.io/service.local: "true"',
    )
    + annotated(
        "direct",
        f"{{selector: {{app: web}}, ipFamilyPolicy: RequireDualStack, externalIPs: [{DIRECT}, '{DIRECT6}'],"
        " ports: [{port: 8080}]}",
        "kube-router.io/service.dsr: tunnel",
    )
    + service("nobody", f"{{selector: {{app: none}}, clusterIP: {NOBODY}, {PORTS}}}]}}")
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(CLUSTER + WORLD) as made:
        yield made


async def address(lab: Lab, name: str) -> str:
    [found] = await lab.get("Pod", name)
    return str(found["status"]["podIP"])


async def status(lab: Lab, source: str, url: str) -> int:
    """curl's: 0, 7 for refused, 28 for silence."""
    return (await lab.exec(source, "curl", "-s", "-m", "2", "-o", "/dev/null", url)).status


async def test_devices_routes_and_virtual_servers_are_kube_routers(lab: Lab) -> None:
    shown = await output(
        lab, "node1", "sh", "-c", "ip -o address; ip rule; ipvsadm -Ln; ip route show proto bird"
    )
    for wanted in (
        f"kube-dummy-if    inet {WEB}/32",
        "kube-bridge    inet 10.244.1.1/24",
        "from 10.244.1.0/24 lookup 77",
        f"TCP  {WEB}:80 lc",
        f"TCP  {NODE1}:30080 lc",
        f"TCP  {LOCAL}:80 rr",
        "10.244.2.0/24 via 10.0.0.12 dev eth0",
    ):
        assert wanted in shown, shown
    there = await output(lab, "node2", "ipvsadm", "-Ln")
    assert f"{NODE2}:30080" in there and f"{NODE2}:30081" not in there, "who is Local has no endpoint there"


async def test_who_asks_is_seen_where_he_came_in(lab: Lab) -> None:
    """Nothing is masqueraded from a pod of the node, or to one."""
    near, far = await address(lab, "near"), await address(lab, "far")
    if plugins.filters_bridges():  # else the answer goes past the node, which alone knows whose it is
        assert await seen_as(lab, "pod/near", f"http://{WEB}/") == near
    assert await seen_as(lab, "pod/far", f"http://{WEB}/") == far
    assert ":" in await seen_as(lab, "pod/far", f"http://[{WEB6}]/")
    assert await seen_as(lab, "client", f"http://{NODE1}:30080/") == CLIENT
    assert await seen_as(lab, "client", f"http://{NODE2}:30080/") == NODE2
    assert await seen_as(lab, "client", f"http://{NODE1}:30081/") == CLIENT
    assert await status(lab, "client", f"http://{NODE2}:30081/") == 7
    for node, own, own6 in (("node1", NODE1, "fd00:10::b"), ("node2", NODE2, "fd00:10::c")):
        for host, wanted in ((WEB, own), (f"[{WEB6}]", own6)):
            assert (await seen_as(lab, node, f"http://{host}/")).strip("[]") == wanted
            told = await output(lab, node, "curl", "-so", "/dev/null", "-w", "%{local_ip}", f"http://{host}/")
            assert told == wanted, "a program of the node has its address"


async def test_the_router_knows_the_way_to_an_external_address(lab: Lab) -> None:
    shown = await output(lab, "router", "ip", "route", "show", OUTSIDE)
    assert NODE1 in shown and NODE2 in shown
    assert await seen_as(lab, "client", f"http://{OUTSIDE}/") in (CLIENT, NODE2)


async def test_a_pod_reaches_itself_where_an_annotation_says_so(lab: Lab) -> None:
    """By this Service's ports alone, also those of the node."""
    for refused in (f"http://{WEB}/", f"http://{NODE1}:30080/"):
        assert await status(lab, "pod/web", refused) == 28
    assert await seen_as(lab, "pod/web", f"http://{ALONE}/") == ALONE
    assert await seen_as(lab, "pod/web", f"http://{NODE1}:30082/") == NODE1


async def test_an_internal_policy_local_is_the_nodes_own_business(lab: Lab) -> None:
    """Without an endpoint a node knows nothing of the address, and sends what is for it on its way."""
    assert await seen_as(lab, "pod/near", f"http://{INNER}/") == await address(lab, "near")
    assert await status(lab, "pod/far", f"http://{INNER}/") in (7, 28)
    there = await output(lab, "node2", "sh", "-c", "ipvsadm -Ln; ip -o address")
    assert INNER not in there


async def test_what_nobody_serves_is_refused(lab: Lab) -> None:
    for asked in (f"http://{NOBODY}/", f"http://{WEB}:81/"):
        assert await status(lab, "pod/near", asked) == 7
    await output(lab, "pod/near", "ping", "-c", "1", "-W", "2", WEB)


async def test_endpoints_answer_by_themselves(lab: Lab) -> None:
    """Whichever node a client comes in by, the pod sees it, and answers past that node."""
    shown = await output(
        lab, "node2", "sh", "-c", "ipvsadm -Ln; ip rule; ip route show table 78; ip -o address"
    )
    assert "FWM" in shown and "Tunnel  1" in shown and "local default dev lo" in shown, shown
    assert f"inet {DIRECT}/32" not in shown
    shown = await output(lab, "pod/web", "ip", "-d", "address", "show", "dev", "kube-tunnel-if")
    assert f"inet {DIRECT}/32" in shown and "ipip" in shown
    for node in (NODE1, NODE2):
        await output(lab, "router", "ip", "route", "replace", f"{DIRECT}/32", "via", node)
        assert await seen_as(lab, "client", f"http://{DIRECT}:8080/") == CLIENT
    came = await lab.exec("node2", "conntrack", "-L", "-d", DIRECT)
    assert b"UNREPLIED" in came.stdout, "the answers went another way"
    near = await address(lab, "near")
    assert await seen_as(lab, "pod/near", f"http://{DIRECT}:8080/") == near


async def test_policies_judge_the_tunnel_and_not_who_asks(lab: Lab) -> None:
    """So everybody reaches a pod by its own node, and by another one nobody unless a policy lets that node in; what a
    pod may ask is judged by the address that it asks (cloudnativelabs/kube-router#1199)."""
    await lab.apply(POLICY.replace("ALLOWED", "near"))
    for node, answer in ((NODE1, 0), (NODE2, 28)):
        await output(lab, "router", "ip", "route", "replace", f"{DIRECT}/32", "via", node)
        assert await status(lab, "client", f"http://{DIRECT}:8080/") == answer, node
    await lab.delete("NetworkPolicy", "web")
    web = await address(lab, "web")
    for allowed, answer in ((web, 28), (DIRECT, 0)):
        await lab.apply(OUT.replace("ALLOWED", allowed))
        assert await status(lab, "pod/far", f"http://{DIRECT}:8080/") == answer, allowed
    await lab.delete("NetworkPolicy", "out")


async def test_endpoints_answer_by_themselves_in_ipv6_too(lab: Lab) -> None:
    """And a trace shows in what a request reaches the pod."""
    await output(lab, "router", "ip", "-6", "route", "replace", f"{DIRECT6}/128", "via", "fd00:10::c")
    path = await lab.trace(f"http://[{DIRECT6}]:8080/", source="client")
    assert path.status == 200
    wrapped = [h for h in path.hops if h.encapsulation is not None and h.direction == "request"]
    assert {"node2", "node1"} <= {hop.place for hop in wrapped}
    assert all(hop.event != "dnat" for hop in path.hops)


async def test_a_trace_shows_the_virtual_server(lab: Lab) -> None:
    path = await lab.trace(f"http://{WEB}/", source="pod/far")
    assert path.status == 200
    (dnat,) = [hop for hop in path.hops if hop.event == "dnat" and hop.direction == "request"]
    assert dnat.place == "node2" and "Service default/web port 80" in dnat.object


async def test_who_is_no_endpoint_any_more_loses_its_connections(lab: Lab) -> None:
    """As without --ipvs-graceful-termination; kube-proxy's IPVS would let them live on."""
    reader, writer = await connect(lab, "far", WEB, 80)
    writer.write(REQUEST)
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 200")
    await lab.apply(pod("web", "node1").replace("{app: web}", "{app: other}"))
    try:
        writer.write(REQUEST)
        with pytest.raises(ConnectionResetError):
            while await asyncio.wait_for(reader.read(65536), 60):
                pass
    finally:
        writer.close()
        await lab.apply(pod("web", "node1"))


async def test_kube_proxy_can_be_instead(lab: Lab) -> None:
    """--run-service-proxy=false, in the running lab and back."""
    await lab.apply(CLUSTER.replace("ingress:", "proxy: {mode: ipvs}, ingress:"))
    shown = await output(lab, "node1", "sh", "-c", "ip -o address; ipvsadm -Ln")
    assert "kube-ipvs0" in shown and "kube-dummy-if" not in shown and f"TCP  {WEB}:80 rr" in shown
    assert await seen_as(lab, "client", f"http://{NODE1}:30080/") != CLIENT
    await lab.apply(CLUSTER)
    assert await seen_as(lab, "client", f"http://{NODE1}:30080/") == CLIENT
