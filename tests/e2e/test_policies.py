"""Policies, asked by packets: every pair of pods, and what stands beside pods."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.model.families import first
from emulab.toolbox.policies import Policies, policies_of
from emulab.toolbox.probing import ProbedFlow, probe

from .families import At, at_of, lab_in, translated, worlds_of
from .tools import connect, emulab, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

PODS = {
    ("red", "web"): {"app": "web"},
    ("red", "guest"): {"app": "client"},
    ("red", "db"): {"app": "db", "tier": "back"},
    ("blue", "web"): {"app": "web"},
    ("blue", "guest"): {"app": "client", "tier": "back"},
}
PATIENCE, MUCH_PATIENCE = 0.4, 5.0
"""Seconds for an answer, and where one is expected that doesn't come: a busy machine takes its time."""


def pod(namespace: str, name: str, labels: dict[str, str], **spec: Any) -> str:
    ports = [{"name": "http", "containerPort": 80}]
    containers = [{"name": "c", "image": "nginx", "ports": ports, **spec.pop("container", {})}]
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}
    )


def policy(name: str, spec: dict[str, Any], namespace: str = "red") -> str:
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return json.dumps({**kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})


def cluster_policy(name: str, **spec: Any) -> str:
    kind = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
    return json.dumps({**kind, "metadata": {"name": name}, "spec": {"priority": 10, **spec}})


def by_hand(family: str, address: str) -> str:
    """An EndpointSlice of the Service without a selector."""
    labels = {"kubernetes.io/service-name": "by-hand"}
    return json.dumps(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"by-hand-{family.lower()}", "namespace": "red", "labels": labels},
            "addressType": family,
            "endpoints": [{"addresses": [address]}],
            "ports": [{"port": 80}],
        }
    )


def named(kind: str, name: str, **more: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more})


WORLD = [
    '{"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "emulab"}, "spec": {"nodes": 2}}',
    json.dumps(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "red", "labels": {"team": "red"}}}
    ),
    named("Namespace", "blue"),
    *(pod(*which, labels) for which, labels in PODS.items()),
    *(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "red"},
                "spec": {**spec, "ports": [{"port": 80}]},
            }
        )
        for name, spec in (
            ("elsewhere", {"type": "ExternalName", "externalName": "www.example.com"}),
            ("by-hand", {}),
        )
    ),
    json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "red"},
            "spec": {
                "type": "NodePort",
                "selector": {"app": "web"},
                "ports": [{"port": 8000, "targetPort": "http", "nodePort": 30080}],
            },
        }
    ),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("policies"))
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with lab_in(request.param, *WORLD) as made:
        yield made


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _without(lab: Lab) -> AsyncIterator[None]:
    yield
    await without_policies(lab)


async def without_policies(lab: Lab) -> None:
    for o in await lab.get("NetworkPolicy"):
        await lab.delete("NetworkPolicy", o["metadata"]["name"], o["metadata"]["namespace"])
    for o in await lab.get("ClusterNetworkPolicy"):
        await lab.delete("ClusterNetworkPolicy", o["metadata"]["name"], "")


def expected(there: Policies, flow: ProbedFlow) -> bool:
    ends = (first(one.addresses, flow.family) for one in (flow.source, flow.destination))
    source, destination = (there.end(address) for address in ends if address is not None)
    return there.verdict(source, destination, "tcp", flow.port).allows


async def agree(lab: Lab, ports: Sequence[int] = (80, 8080)) -> list[bool]:
    """Packets do what the policies say, between all pods and in each family; whoever should be heard and isn't is asked
    once more."""
    there = await policies_of(lab)
    own = [one for one in there.scene.pods if one.namespace in ("red", "blue")]
    flows = [
        ProbedFlow(one, other, port, family)
        for family in at_of(lab).families
        for one in own
        for other in own
        if one is not other
        for port in ports
    ]
    wanted = [expected(there, flow) for flow in flows]
    passed = await probe(lab, flows, PATIENCE)
    missed = [flow for flow, want, sent in zip(flows, wanted, passed, strict=True) if want and not sent]
    assert all(await probe(lab, missed, MUCH_PATIENCE)), "a flow that is allowed is dropped"
    forbidden = [flow for flow, want, sent in zip(flows, wanted, passed, strict=True) if sent and not want]
    assert not forbidden, "a flow that is denied passes"
    return wanted


LABELS: list[dict[str, Any]] = [
    {},
    {"matchLabels": {"app": "web"}},
    {"matchLabels": {"app": "client"}},
    {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
]
TEAMS: list[dict[str, Any]] = [
    {},
    {"matchLabels": {"team": "red"}},
    {"matchLabels": {"kubernetes.io/metadata.name": "blue"}},
    {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
]
BLOCKS = [
    {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]},
    {"cidr": "10.244.2.0/24"},
    {"cidr": "192.0.2.0/24"},
]
PORTS: list[dict[str, Any]] = [
    {"port": 80},
    {"port": "http"},
    {"port": 8000, "endPort": 8100},
    {"protocol": "UDP"},
]


def drawn(draw: random.Random) -> list[str]:
    """Some policies."""

    def peer() -> dict[str, Any]:
        kind = draw.randrange(4)
        if kind == 0:
            return {"ipBlock": draw.choice(BLOCKS)}
        selectors = {"podSelector": draw.choice(LABELS), "namespaceSelector": draw.choice(TEAMS)}
        return {key: value for key, value in selectors.items() if kind == 3 or key[0] == "np"[kind - 1]}

    def rules(word: str) -> list[dict[str, Any]]:
        return [
            {
                word: [peer() for _ in range(draw.randrange(1, 3))],
                "ports": [draw.choice(PORTS) for _ in range(draw.randrange(0, 2))],
            }
            for _ in range(draw.randrange(0, 3))
        ]

    found = []
    for number in range(draw.randrange(1, 5)):
        spec: dict[str, Any] = {"podSelector": draw.choice(LABELS)}
        if draw.random() < 0.8:
            spec["ingress"] = rules("from")
        if draw.random() < 0.5:
            spec["egress"] = rules("to")
        found.append(policy(f"p{number}", spec, draw.choice(["red", "red", "blue"])))
    return found


def drawn_of_the_cluster(draw: random.Random) -> list[str]:
    """Some ClusterNetworkPolicies, of one priority or of several."""

    def pods() -> dict[str, Any]:
        if draw.random() < 0.4:
            return {"namespaces": draw.choice(TEAMS)}
        return {"pods": {"podSelector": draw.choice(LABELS), "namespaceSelector": draw.choice(TEAMS)}}

    def rules(word: str) -> list[dict[str, Any]]:
        networks = [str(b["cidr"]) for b in BLOCKS]
        blocks: list[dict[str, Any]] = [*({"networks": [one]} for one in networks), {"nodes": {}}]
        found = []
        for _ in range(draw.randrange(0, 4)):
            peers = [draw.choice(blocks) if word == "to" and draw.random() < 0.3 else pods()]
            ports: list[dict[str, Any]] = [
                {"tcp": {"destinationPort": {"range": {"start": 8000, "end": 8100}}}}
            ]
            ports += [{"destinationNamedPort": "http"}] if not {"networks", "nodes"} & peers[0].keys() else []
            rule = {"action": draw.choice(["Accept", "Deny", "Deny", "Pass"]), word: peers}
            found.append({**rule, "protocols": [draw.choice(ports)]} if draw.random() < 0.5 else rule)
        return found

    return [
        cluster_policy(
            f"c{number}",
            tier=draw.choice(["Admin", "Baseline"]),
            priority=draw.randrange(0, 2),
            subject={"namespaces": {"matchExpressions": [NOT_OURS]}} if draw.random() < 0.5 else pods(),
            ingress=rules("from"),
            egress=rules("to"),
        )
        for number in range(draw.randrange(2, 4))
    ]


NOT_OURS = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}


@pytest.mark.parametrize("seed", range(6))
async def test_packets_agree_with_the_specifications(lab: Lab, at: At, seed: int) -> None:
    draw = random.Random(seed)
    policies = drawn(draw) if seed != 4 else []  # then Baseline is asked about every pod
    texts = (*policies, *(drawn_of_the_cluster(draw) if seed > 2 else ()))
    await lab.apply(*(translated(text, at) for text in texts), ready=False)
    before = await agree(lab)
    assert False in before
    # PodLabels of a pod and of a Namespace change, and count at once.
    moved = {"app": draw.choice(["web", "client"]), "tier": "back"}
    team = {"labels": {"team": draw.choice(["red", "blue"])}}
    blue = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue", **team}})
    await lab.apply(pod("blue", "web", moved), blue, ready=False)
    await agree(lab)
    await lab.apply(pod("blue", "web", PODS["blue", "web"]), named("Namespace", "blue"), ready=False)


DENY_ALL = policy("deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


async def silent(lab: Lab, source: str, address: str, port: int, namespace: str = "red") -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await connect(lab, source, address, port, namespace)
    except TimeoutError:
        return True
    except ConnectionRefusedError:
        return False
    writer.close()
    return False


async def address(lab: Lab, namespace: str, name: str) -> str:
    (found,) = await lab.get("Pod", name, namespace)
    return str(found["status"]["podIP"])


async def test_what_stands_is_not_ended_and_what_begins_is_denied(lab: Lab) -> None:
    web = await address(lab, "red", "web")
    reader, writer = await connect(lab, "guest", web, 80, "red")
    await lab.apply(DENY_ALL)
    writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 200")
    writer.close()
    assert await silent(lab, "guest", web, 80)


async def test_a_pod_reaches_itself_and_the_kubelet_reaches_all(lab: Lab) -> None:
    probed = {"container": {"readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}}}
    await lab.apply(DENY_ALL, pod("red", "probed", {"app": "probed"}, **probed), ready=False)
    await lab.wait("Pod", "probed", "condition=Ready", "red")
    (web,) = await lab.get("Service", "web", "red")
    url = f"http://{at_of(lab).host(web['spec']['clusterIP'])}:8000/"
    shown = ("-gs", "-o", "/dev/null", "-w", "%{http_code}")
    there = await output(lab, "web", "curl", *shown, url, namespace="red")
    assert there == "200"
    await lab.delete("Pod", "probed", "red")


async def test_a_service_is_judged_by_where_it_leads(lab: Lab, at: At) -> None:
    """An ipBlock of cluster IPs allows nothing: kube-proxy has translated them by then."""
    (web,) = await lab.get("Service", "web", "red")
    virtual, real = web["spec"]["clusterIP"], await address(lab, "red", "web")
    assert ip_address(virtual) != ip_address(real)

    def egress(cidr: str) -> str:
        to = [{"to": [{"ipBlock": {"cidr": cidr}}]}]
        return policy("out", {"podSelector": {}, "policyTypes": ["Egress"], "egress": to})

    await lab.apply(egress(f"{virtual}/{at.family.bits}"))
    assert await silent(lab, "guest", virtual, 8000)
    await lab.apply(egress(f"{real}/{at.family.bits}"))
    assert not await silent(lab, "guest", virtual, 8000)


async def test_names_need_the_way_to_them(lab: Lab, at: At) -> None:
    async def resolves() -> bool:
        asked = await emulab(
            "-l",
            lab.name,
            "exec",
            "-n",
            "red",
            "guest",
            "--",
            "dig",
            "+time=1",
            "+tries=1",
            "+short",
            at.family.record,
            "web.red.svc.cluster.local",
        )
        return asked.status == 0 and bool(asked.stdout.strip())

    assert await resolves()
    await lab.apply(DENY_ALL)
    assert not await resolves()
    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    dns["podSelector"] = {"matchLabels": {"k8s-app": "kube-dns"}}
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    await lab.apply(
        policy(
            "dns", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [dns], "ports": ports}]}
        )
    )
    assert await resolves()


@pytest.mark.privilege  # who isn't root sees no reasons of the kernel's
async def test_a_trace_names_the_policy(lab: Lab) -> None:
    await lab.apply(policy("web", {"podSelector": {"matchLabels": {"app": "web"}}}))
    asked = await emulab(
        "-l", lab.name, "trace", "-n", "red", "--from", "guest", "--timeout", "1s", "http://web:8000/"
    )
    assert asked.status == 1
    said = " ".join(asked.text.split())
    assert "no rule of spec.ingress of NetworkPolicy red/web allows it" in said
    assert "pod red/guest" in said and "pod red/web" in said


async def test_a_service_that_leads_back_is_judged_by_the_cluster_alone(lab: Lab) -> None:
    """By its own address a pod reaches itself in any case."""
    (service,) = await lab.get("Service", "web", "red")
    virtual, own = service["spec"]["clusterIP"], await address(lab, "red", "web")
    deny = [{"action": "Deny", "name": "no-http", "from": [{"namespaces": {}}]}]
    red = {"namespaces": {"matchLabels": {"team": "red"}}}
    await lab.apply(DENY_ALL)
    assert not await silent(lab, "web", virtual, 8000)
    await lab.apply(cluster_policy("deny", tier="Baseline", subject=red, ingress=deny))
    assert not await silent(lab, "web", virtual, 8000)  # a NetworkPolicy isolates it, and has decided
    await lab.apply(cluster_policy("deny", tier="Admin", subject=red, ingress=deny))
    assert await silent(lab, "web", virtual, 8000) and not await silent(lab, "web", own, 80)
    check = ("-l", lab.name, "policy", "-n", "red", "check", "web")
    judged = await emulab(*check, "svc/web")
    assert judged.status == 1 and "egress   allowed: a pod reaches itself by a Service" in judged.text
    assert "ingress  denied by spec.ingress[0] (no-http)" in judged.text
    assert (await emulab(*check, "web")).status == 0


@pytest.mark.privilege
async def test_a_trace_names_the_rule_of_the_cluster(lab: Lab) -> None:
    deny = [{"action": "Deny", "name": "no-clients", "from": [{"namespaces": {}}]}]
    await lab.apply(cluster_policy("tenants", tier="Admin", subject={"namespaces": {}}, ingress=deny[:0]))
    web = await address(lab, "red", "web")
    assert not await silent(lab, "guest", web, 80)
    await lab.apply(
        cluster_policy("tenants", tier="Admin", subject={"pods": {"podSelector": LABELS[1]}}, ingress=deny)
    )
    path = await lab.trace(f"http://{at_of(lab).host(web)}/", source="pod/guest", namespace="red", timeout=1)
    assert path.failure is not None and path.failure.object == "ClusterNetworkPolicy tenants"
    assert "spec.ingress[0] (no-clients) of ClusterNetworkPolicy tenants (Admin tier) denies it" in (
        path.failure.text
    )


@pytest.mark.privilege  # its probes are sent by processes of the lab's
async def test_the_tool_says_the_same(lab: Lab, at: At) -> None:
    await lab.apply(policy("web", {"podSelector": {"matchLabels": {"app": "web"}}}))
    check = ("-l", lab.name, "policy", "-n", "red", "check")
    denied = await emulab(*check, "guest", "svc/web")
    assert denied.status == 1
    assert "port 80/tcp: denied" in denied.text and "NetworkPolicy red/web" in denied.text
    to_node = await emulab(*check, "web", "node/node1:80")
    assert to_node.status == 0 and f"node node1 ({at.node1}) port 80/tcp: allowed" in to_node.text
    api = await emulab(*check, "--to-namespace", "default", "guest", "svc/kubernetes")
    assert api.status == 0 and f"→ node node1 ({at.node1}) port 6443/tcp: allowed" in api.text
    two = {"IPv4": "10.9.9.9", "IPv6": "fd00:9::9"}
    await lab.apply(*(by_hand(family, address) for family, address in two.items()))
    own = await emulab(*check, "guest", "svc/by-hand")
    assert own.status == 0 and own.text.count("tcp: allowed") == 1, (
        "a Service of one family leads nowhere else"
    )
    assert f"{two[at.family.name]} port 80/tcp: allowed" in own.text
    for family in two:
        await lab.delete("EndpointSlice", f"by-hand-{family.lower()}", "red")
    across = await emulab(*check, "blue/guest", "red/web:80/tcp")
    assert across.status == 1 and "pod blue/guest" in across.text and "NetworkPolicy red/web" in across.text
    allowed = await emulab(*check, "web", "guest:80")
    assert allowed.status == 0 and "port 80/tcp: allowed" in allowed.text
    matrix = await emulab("-l", lab.name, "policy", "matrix", "--probe")
    assert matrix.status == 0 and matrix.text.rstrip().endswith(f"{20 * len(at.families)} probes agree"), (
        matrix.text
    )
    told = json.loads((await emulab("-l", lab.name, "policy", "matrix", "-o", "json")).stdout)
    [row] = [one for one in told if (one["source"], one["destination"]) == ("red/guest", "red/web")]
    assert row["allowed"] is False and [*row.get("families", ())] == (
        [f.name for f in at.families] if len(at.families) > 1 else []
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("guest", "web:http"), "web:http: 'http' is not a port (1-65535)"),
        (("guest", "web:0"), "web:0: '0' is not a port (1-65535)"),
        (("guest", "web:80/icmp"), "'icmp' is no protocol that policies know: tcp, udp or sctp"),
        (("guest", ":80"), "has a port and nobody who has it: NAME:80"),
        (("guest", "fd00::1"), "fd00::1: an address needs a port: [fd00::1]:80"),
        (("guest", "node/node1"), "node/node1: a node needs a port: node/node1:80"),
        (("guest", "no/node1:30080"), "port 30080 is Service red/web's, and translated"),
        (("guest", "node/nobody:80"), 'nodes "nobody" not found'),
        (("node/node1", "web"), "node/node1: sends from an address of its node's, which the way decides"),
        (("guest", "svc/nobody"), 'services "nobody" not found'),
        (
            ("guest", "svc/elsewhere"),
            "svc/elsewhere: is another name for www.example.com: ask for who has that",
        ),
        (
            ("guest", "svc/by-hand"),
            "svc/by-hand selects no Pods, and its EndpointSlices have no endpoint that is",
        ),
        (("client", "web:80"), "client: there is no such pod; of that Client ask for "),
        (("guest", "node1:22"), "node1: there is no such pod; of a node ask for node/node1"),
        (("guest", "blue/nobody"), 'pods "nobody" not found'),
        (("guest", "green/web"), "there is no kind 'green'"),
        (("guest", "svc/web:81"), "svc/web has no port 81/tcp"),
        (
            ("guest", "10.96.0.10:53/udp"),
            "10.96.0.10 port 53 is Service kube-system/kube-dns's, and translated",
        ),
        (("guest",), "policy check takes a SOURCE and a DESTINATION"),
    ],
)
async def test_what_cannot_be_asked_is_said(lab: Lab, at: At, asked: tuple[str, ...], said: str) -> None:
    dns = "10.96.0.10"
    asked = tuple(word.replace(dns, at.host(at(dns))) for word in asked)
    said = said.replace(dns, at(dns))
    refused = await emulab("-l", lab.name, "policy", "-n", "red", "check", *asked)
    assert refused.status != 0 and said in refused.stderr.decode()


async def test_nodes_reach_their_pods_and_pods_on_them_are_nodes(lab: Lab) -> None:
    await lab.apply(DENY_ALL, pod("red", "host", {"app": "web"}, hostNetwork=True, nodeName="node1"))
    check = ("-l", lab.name, "policy", "-n", "red", "check")
    (web,) = await lab.get("Pod", "web", "red")
    nodes = {o["metadata"]["name"]: o["status"]["addresses"][0]["address"] for o in await lab.get("Node")}
    own = nodes.pop(web["spec"]["nodeName"])
    assert (await emulab(*check, own, "web")).status == 0
    assert all([(await emulab(*check, other, "web")).status == 1 for other in nodes.values()])
    denied = await emulab(*check, "guest", "host")
    assert denied.status == 1 and "no NetworkPolicy isolates node node1" in denied.text
    assert b"ip route get" in (await emulab(*check, "host", "web")).stderr
    await lab.delete("Pod", "host", "red")


async def test_ports_that_overlap_are_allowed_together(lab: Lab) -> None:
    """The kernel takes no intervals that overlap."""
    ports = [{"port": "http"}, {"port": 80}, {"port": 79, "endPort": 90}, {"port": 85}, {"protocol": "UDP"}]
    await lab.apply(policy("ports", {"podSelector": {}, "ingress": [{"ports": ports}]}), ready=False)
    assert False in await agree(lab)
    await lab.apply(policy("ports", {"podSelector": {}, "ingress": [{"ports": [*ports, {}]}]}), ready=False)
    assert all(await agree(lab))


SPEAKER = {("TCP", 7000): "speak", ("TCP", 7001): "other", ("UDP", 7000): "tell", ("UDP", 7001): "retell"}
OPEN: list[tuple[list[dict[str, Any]], str]] = [
    # What a rule's ports say, and at which of these the pod is then reached: T0 is TCP at 7000.
    ([{}], "T0 T1"),
    ([{"protocol": "UDP"}], "U0 U1"),
    ([{"port": 7000}], "T0"),
    ([{"protocol": "UDP", "port": 7000}], "U0"),
    ([{"protocol": "UDP", "port": 6990, "endPort": 7000}], "U0"),
    ([{"protocol": "SCTP", "port": 7000}], ""),
    ([{"protocol": "UDP", "port": "retell"}], "U1"),
    ([{"protocol": "TCP", "port": "retell"}], ""),  # a name of another protocol's
    ([{"port": "nobody"}, {"port": 7001}], "T1"),
    ([{"port": 7000}, {"protocol": "UDP", "port": "retell"}], "T0 U1"),
    ([{"protocol": "UDP"}, {"port": "other"}, {"port": 1, "endPort": 6999}], "U0 U1 T1"),
]
"""The kinds of ports that other suites of policies put together."""


async def answers(lab: Lab, protocol: str, host: str, port: int, patience: float = PATIENCE) -> bool:
    """Whether a server of the pod `speaker` answers the pod `asker`."""
    family, loop = (socket.AF_INET6 if ":" in host else socket.AF_INET), asyncio.get_running_loop()
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with await lab.socket("asker", kind, "red", family) as sock:
        try:
            async with asyncio.timeout(patience):
                await loop.sock_connect(sock, (host, port))
                if protocol == "UDP":
                    await loop.sock_sendall(sock, b"?")
                    await loop.sock_recv(sock, 16)
        except TimeoutError:
            return False
    return True


async def test_ports_are_those_of_their_protocol(lab: Lab) -> None:
    """In both directions, and in each family; whoever should answer and doesn't is asked once more."""
    ports = [{"name": n, "protocol": p, "containerPort": port} for (p, port), n in SPEAKER.items()]
    await lab.apply(
        pod("red", "speaker", {"app": "speaker"}, container={"image": "example/speaker", "ports": ports}),
        pod("red", "asker", {"app": "asker"}),
    )
    [speaker] = await lab.get("Pod", "speaker", "red")
    hosts = [one["ip"] for one in speaker["status"]["podIPs"]]
    for number, (allowed, reached) in enumerate(OPEN):
        way, who = (("ingress", "speaker"), ("egress", "asker"))[number % 2]
        spec = {"podSelector": {"matchLabels": {"app": who}}, "policyTypes": [way.capitalize()]}
        await lab.apply(policy("ports", {**spec, way: [{"ports": allowed}]}))
        asked = [(host, *one) for host in hosts for one in SPEAKER]
        found = await asyncio.gather(*(answers(lab, p, host, port) for host, p, port in asked))
        for (host, protocol, port), heard in zip(asked, found, strict=True):
            wanted = f"{protocol[0]}{port - 7000}" in reached.split()
            if wanted and not heard:
                heard = await answers(lab, protocol, host, port, MUCH_PATIENCE)
            assert heard == wanted, (way, allowed, host, protocol, port)
    for name in ("speaker", "asker"):
        await lab.delete("Pod", name, "red")


async def test_policies_that_go_leave_nothing_behind(lab: Lab) -> None:
    await lab.apply(DENY_ALL)
    rules = ("nft", "list", "tables")
    assert "network-policies" in await output(lab, "node1", *rules)
    await without_policies(lab)

    async def gone() -> bool:
        return "network-policies" not in await output(lab, "node1", *rules)

    await eventually(gone)
    assert not await silent(lab, "guest", await address(lab, "red", "web"), 80)
