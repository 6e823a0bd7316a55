"""A lab of IPv6, or of both families, as its users meet it: real curl, dig and ping, what objects say, traces."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.model.families import IPV4, IPV6, Families, Family, family_of

from .families import worlds_of_the_day
from .tools import INTERPRETER, all_healthy, node_port, output
from .tools import emulab as cli

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: families}
spec: {network: {families: [FAMILIES]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      dnsConfig: {options: [{name: timeout, value: "1"}, {name: attempts, value: "1"}]}
      containers:
        - name: web
          ports: [{containerPort: 8080, hostPort: 8088}]
          env: [{name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: PreferDualStack
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: single}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: vpc.test}
spec: {visibility: public, records: [RECORDS]}
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {nodeName: node1, containers: [{name: c, ports: [{containerPort: 9999}]}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
    - host: shop.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of_the_day())
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    families = ", ".join(family.name for family in request.param)
    nodes = {
        IPV4: "{name: '@', type: A, value: 10.0.0.11}",
        IPV6: "{name: '@', type: AAAA, value: 'fd00:10::b'}",
    }
    records = ", ".join(nodes[family] for family in request.param)
    async with Lab.from_text(WORLD.replace("FAMILIES", families).replace("RECORDS", records)) as made:
        await all_healthy(made)
        yield made


@pytest.fixture
def families(lab: Lab, request: pytest.FixtureRequest) -> Families:
    found: Families = request.node.callspec.params["lab"]
    return found


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def of(family: Family, addresses: list[str]) -> str:
    return next(a for a in addresses if family_of(ip_address(a)) is family)


async def curl(lab: Lab, place: str, *arguments: str) -> str:
    """The address that curl went to, of an answer of 200; its error else."""
    shown = "%{http_code} %{remote_ip}"
    done = await lab.exec(*(place, "curl", "-gsS", "-m", "20", "-o", "/dev/null", "-w", shown), *arguments)
    return done.text.removeprefix("200 ") if done.status == 0 else done.stderr.decode()


async def dig(lab: Lab, place: str, *question: str) -> list[str]:
    return sorted((await output(lab, place, "dig", "+short", "+tries=3", "+time=5", *question)).splitlines())


async def addresses(lab: Lab, service: str) -> list[str]:
    [o] = await lab.get("Service", service, "default")
    return list(o["spec"]["clusterIPs"])


async def test_objects_have_addresses_of_each_family_in_order(lab: Lab, families: Families) -> None:
    names = [family.name for family in families]
    [web], [six], [single] = [await lab.get("Service", name, "default") for name in ("web", "six", "single")]
    assert web["spec"]["ipFamilies"] == names and web["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    assert six["spec"]["ipFamilies"] == ["IPv6"] and six["spec"]["ipFamilyPolicy"] == "SingleStack"
    assert single["spec"]["ipFamilies"] == names[:1]
    for o in await lab.get("Pod"):
        given = [entry["ip"] for entry in o["status"]["podIPs"]]
        assert [family_of(ip_address(a)) for a in given] == list(families) and o["status"]["podIP"] == given[
            0
        ]
    for o in await lab.get("Node"):
        own = [a["address"] for a in o["status"]["addresses"] if a["type"] == "InternalIP"]
        assert [family_of(ip_address(a)) for a in own] == list(families)
        assert [family_of(ip_address(c.partition("/")[0])) for c in o["spec"]["podCIDRs"]] == list(families)
    slices = await lab.get("EndpointSlice", namespace="default")
    of_web = [s for s in slices if s["metadata"]["labels"]["kubernetes.io/service-name"] == "web"]
    assert sorted(s["addressType"] for s in of_web) == sorted(names)
    for ingress in (web, *await lab.get("Ingress", "web", "default")):
        vips = [entry["ip"] for entry in ingress["status"]["loadBalancer"]["ingress"]]
        assert [family_of(ip_address(vip)) for vip in vips] == list(families)


async def test_a_pod_is_told_its_addresses(lab: Lab) -> None:
    [pod] = [p for p in await lab.get("Pod", namespace="default") if "web" in p["metadata"]["name"]][:1]
    told = await output(lab, f"pod/{pod['metadata']['name']}", "printenv", "IPS")
    assert told == ",".join(entry["ip"] for entry in pod["status"]["podIPs"])
    hosts = await output(lab, f"pod/{pod['metadata']['name']}", "cat", "/etc/hosts")
    for entry in pod["status"]["podIPs"]:
        assert re.search(rf"(?m)^{re.escape(entry['ip'])}\s", hosts)


async def test_every_family_leads_to_a_service(lab: Lab, families: Families) -> None:
    """From a pod, from a node; by address and by name; by cluster IP, node port and host port."""
    given, port = await addresses(lab, "web"), await node_port(lab, "web")
    [node] = await lab.get("Node", "node2")
    [pod] = [p for p in await lab.get("Pod", namespace="default") if p["spec"]["nodeName"] == "node2"][:1]
    own = [a["address"] for a in node["status"]["addresses"]][: len(families)]
    for family in families:
        option, address, at_node = f"-{family.version}", of(family, given), of(family, own)
        assert await curl(lab, "pod/asker", option, "http://web/") == address
        assert await curl(lab, "node1", f"http://{host(address)}/") == address
        assert await curl(lab, "client", f"http://{host(at_node)}:{port}/") == at_node
        assert await curl(lab, "client", f"http://{host(at_node)}:8088/") == at_node
        there = of(family, [entry["ip"] for entry in pod["status"]["podIPs"]])
        assert await curl(lab, "pod/asker", f"http://{host(there)}:8080/") == there
        assert await curl(lab, "pod/asker", option, "http://none:8080/") in await dig(
            lab, "pod/asker", family.record, "none.default.svc.cluster.local"
        )


async def test_every_family_leads_into_the_cluster(lab: Lab, families: Families) -> None:
    """By the balancer of a Service, and by the public one and the ingress: each by address and by name."""
    [web] = await lab.get("Service", "web", "default")
    vips = [entry["ip"] for entry in web["status"]["loadBalancer"]["ingress"]]
    for family in families:
        option, vip = f"-{family.version}", of(family, vips)
        assert await curl(lab, "client", f"http://{host(vip)}/") == vip
        assert await curl(lab, "client", option, "http://web.default.lb.test/") == vip
        public = "2001:db8:2::a" if family is IPV6 else "203.0.113.10"
        assert await curl(lab, "client", option, "http://shop.example.com/") == public
        assert await dig(lab, "client", family.record, "shop.example.com") == [public]


async def test_a_client_takes_the_family_that_it_prefers(lab: Lab, families: Families) -> None:
    """curl asks for both and goes by IPv6 where there is one, as the C library sorts them (RFC 6724, RFC 8305)."""
    preferred = IPV6 if IPV6 in families else IPV4
    assert await curl(lab, "pod/asker", "http://web/") == of(preferred, await addresses(lab, "web"))
    assert await curl(lab, "pod/asker", "http://six/") == (await addresses(lab, "six"))[0]
    assert "Could not resolve" in await curl(lab, "pod/asker", "-4", "http://six/")


async def test_names_have_records_of_each_family(lab: Lab, families: Families) -> None:
    """No address of a family is no name error: the name is there, without one (RFC 4074)."""
    given = await addresses(lab, "web")
    for family in (IPV4, IPV6):
        there = [a for a in given if family_of(ip_address(a)) is family]
        assert await dig(lab, "pod/asker", family.record, "web.default.svc.cluster.local") == there
    shown = await output(lab, "pod/asker", "dig", "A", "six.default.svc.cluster.local")
    assert "status: NOERROR" in shown and "ANSWER: 0" in shown
    for address in given:
        assert await dig(lab, "pod/asker", "-x", address) == ["web.default.svc.cluster.local."]
    services = await dig(lab, "pod/asker", "SRV", "_http._tcp.none.default.svc.cluster.local")
    assert len(services) == 2 * len(families) and all(" 8080 " in line for line in services)
    target = next(line.split()[-1] for line in services if line.count("-") > 3 or IPV6 not in families)
    [found] = await dig(lab, "pod/asker", "AAAA", target)
    assert found.replace(":", "-") == target.partition(".")[0]


async def test_pings_get_everywhere(lab: Lab, families: Families) -> None:
    for family in families:
        outside = "2001:db8:1::2" if family is IPV6 else "198.51.100.2"
        [node] = await lab.get("Node", "node2")
        own = of(family, [a["address"] for a in node["status"]["addresses"]][: len(families)])
        for place, address in (("pod/asker", outside), ("pod/asker", own), ("client", own)):
            done = await lab.exec(place, "ping", f"-{family.version}", "-c", "1", "-W", "10", address)
            assert done.status == 0, (place, address, done.text)


async def test_requests_are_traced_in_each_family(lab: Lab, families: Families) -> None:
    for family in families:
        address = of(family, await addresses(lab, "web"))
        path = await lab.trace(f"http://{host(address)}/", source="pod/asker")
        assert path.status == 200 and path.failure is None and path.notes == []
        dnat = path.first(event="dnat")
        assert dnat.destination == f"{host(address)}:80" and dnat.rule.startswith(f"{family.nft} kube-proxy")
        done = await cli("-l", lab.name, "trace", "--from", "pod/asker", f"{host(address)}:81")
        assert done.status == 1 and "Service default/web has no port 81" in done.stderr.decode()
    shown = await cli("-l", lab.name, "trace", "http://shop.example.com/")
    assert shown.status == 0 and "FAILED" not in shown.text


CURLS_CONNECT = "%{time_namelookup} %{time_connect}"
CLOSED = {
    "reset": ("public-lb", "input", "tcp dport 80 reject with tcp reset"),
    "forbidden": ("router", "forward", "tcp dport 80 reject with ICMP type admin-prohibited"),
    "silent": ("router", "forward", "tcp dport 80 drop"),
}
"""Ways in which a family may be cut off: the place, the hook, and what a rule does there with requests."""


@pytest.mark.not_in(lambda families: len(families) == 1)  # there is no other family
@pytest.mark.parametrize("way", [*CLOSED, "no route"])
async def test_clients_go_by_the_other_family_where_one_fails(lab: Lab, families: Families, way: str) -> None:
    """Everybody does as curl does (RFC 8305), and says so; nobody minds what becomes of the other family."""
    url, public = "http://shop.example.com/", {IPV4: "203.0.113.10", IPV6: "2001:db8:2::a"}
    for cut, other in ((IPV6, IPV4), (IPV4, IPV6))[: 2 if way == "reset" else 1]:
        if way == "no route":
            place, undo = "client", await route_away(lab, cut)
        else:
            place, hook, verdict = CLOSED[way]
            chain = f"type filter hook {hook} priority -10; {verdict.replace('ICMP', cut.icmp)};"
            script = f"table {cut.nft} cut {{ chain closed {{ {chain} }}; }}"
            done = await lab.exec(place, "nft", "-f", "-", stdin=script.encode())
            assert done.status == 0, done.stderr
            undo = ("nft", "delete", "table", cut.nft, "cut")
        try:
            taken = await curl(lab, "client", url)
            spent = await output(lab, "client", "curl", "-so", "/dev/null", "-w", CURLS_CONNECT, url)
            path = await lab.trace(url)
            connections = [c for c in path.connections if c.source_place == "client" and c.number]
            answer = await lab.request(url)
            timed = await cli("-l", lab.name, "timing", "--number", "1", "-o", "json", url)
        finally:
            await output(lab, place, *undo)
        assert taken == public[other], cut
        assert path.status == 200 and path.failure is None and answer.status == 200, (cut, path.notes)
        assert timed.status == 0, timed.stderr
        if way == "silent":  # both have the head start of the family that connects to nothing
            begun, connected = map(float, spent.split())
            assert (
                min(connected - begun, json.loads(timed.stdout)["microseconds"]["connect"]["p50"] / 1e6)
                >= 0.19
            )
        last = connections[-1]
        assert f"→ {host(public[other])}:80" in last.title
        tried = [c.title for c in connections[:-1]]
        if cut is IPV6 and way != "no route":
            assert len(tried) == 1 and f"→ [{public[IPV6]}]:80 (passed over: " in tried[0]
            assert any(
                note.startswith(f"[{public[IPV6]}]:80 (IPv6) was tried first: ") for note in path.notes
            )
        else:  # where IPv6 does, or there is no way in it, nothing is tried in vain
            assert tried == [] and not any("RFC 8305" in note for note in path.notes)


async def route_away(lab: Lab, family: Family) -> tuple[str, ...]:
    """Takes the client's way out in a family away; the command that gives it back."""
    option = f"-{family.version}"
    [line] = (await output(lab, "client", "ip", option, "route", "show", "default")).splitlines()
    await output(lab, "client", "ip", option, "route", "del", "default")
    words = line.split()
    return ("ip", option, "route", "add", "default", "via", words[words.index("via") + 1], "dev", "eth0")


async def test_sockets_are_of_the_primary_family_unless_told(lab: Lab, families: Families) -> None:
    import socket

    for place in ("client", "pod/asker", "node1"):
        with await lab.socket(place) as sock:
            assert int(sock.family) == families[0].number
        for family in families:
            with await lab.socket(place, socket.SOCK_DGRAM, family=family.number) as sock:
                assert int(sock.family) == family.number


async def test_addresses_are_tried_in_the_order_of_the_c_library(lab: Lab) -> None:
    """Those of Services, of several pods, and of nodes, which a client with a global address is not like."""
    program = (
        "import socket, sys\nfor name in sys.argv[1:]:\n"
        " print(*(i[4][0] for i in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)))"
    )
    for place, names in (
        ("pod/asker", ["web", "none", "shop.example.com", "vpc.test"]),
        ("client", ["shop.example.com", "vpc.test"]),
    ):
        told = (await output(lab, place, INTERPRETER, "-c", program, *names)).splitlines()
        for name, line in zip(names, told, strict=True):
            ours, theirs = await lab.resolve_all(name, place), line.split()
            if name == "none":  # the name server turns answers round, and IPv4's are taken as they come
                ours, theirs = ([a for a in one if ":" in a] or one[:0] for one in (ours, theirs))
            assert ours == theirs, (place, name)


async def test_a_family_is_taken_on_and_let_go_while_others_talk(lab: Lab, families: Families) -> None:
    """`kubectl apply` with another policy: the first address stays, the second one comes and goes at once."""
    [single] = await lab.get("Service", "single", "default")
    spec = "{POLICYselector: {app: web}, ports: [{port: 80, targetPort: 8080}]}"
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: single}}\nspec: {spec}"
    await lab.apply(text.replace("POLICY", "ipFamilyPolicy: PreferDualStack, "))
    given = await addresses(lab, "single")
    assert given[0] == single["spec"]["clusterIP"] and len(given) == len(families)
    for address in given:
        assert await curl(lab, "pod/asker", f"http://{host(address)}/") == address
    await lab.apply(text.replace("POLICY", "ipFamilyPolicy: SingleStack, "))
    assert await addresses(lab, "single") == given[:1]
    if len(given) > 1:  # an address that nobody has: the node drops what goes there
        assert "timed out" in await curl(lab, "pod/asker", "-m", "1", f"http://{host(given[1])}/")


async def test_the_proxy_tells_of_each_family(lab: Lab, families: Families) -> None:
    loopback = "[::1]" if families[0] is IPV6 else "127.0.0.1"
    shown = await output(lab, "node1", "curl", "-gsS", f"http://{loopback}:10249/metrics")
    assert set(re.findall(r'ip_family="(\w+)"', shown)) == {family.name for family in families}
    health = json.loads(await output(lab, "node1", "curl", "-gsS", f"http://{loopback}:10256/healthz"))
    assert set(health["status"]) == {family.name for family in families}


async def test_a_policy_for_one_family_denies_the_other(lab: Lab, families: Families) -> None:
    last = families[-1]
    sources = [{"ipBlock": {"cidr": str(last.everything)}}]
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": sources}]}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "one"}}
    await lab.apply(json.dumps({**kind, "spec": spec}))
    try:
        asked = ("-l", lab.name, "policy", "-n", "default")
        rows = json.loads((await cli(*asked, "matrix", "--probe", "-o", "json")).stdout)
        for row in rows:
            if row["source"] == "default/asker":
                told = row.get("families") or {last.name: row}
                found = {name: (one["allowed"], one["passed"]) for name, one in told.items()}
                assert found == {family.name: (family is last, family is last) for family in families}
        check = await cli(*asked, "check", "asker", "svc/web")
        assert check.status == (0 if len(families) == 1 else 1)
        said = [line.rpartition(": ")[2] for line in check.text.splitlines() if " → " in line]
        assert sorted(said) == sorted(2 * ["allowed" if family is last else "denied" for family in families])
    finally:
        await lab.delete("NetworkPolicy", "one", "default")


async def test_names_that_a_policy_forgets_are_missed_in_each_family(lab: Lab, families: Families) -> None:
    [servers] = await lab.get("Service", "kube-dns", "kube-system")
    [pod] = [p for p in await lab.get("Pod", namespace="default") if "web" in p["metadata"]["name"]][:1]
    place = f"pod/{pod['metadata']['name']}"
    ask = ("dig", "+short", "+tries=1", "+time=1", "web.default.svc.cluster.local")
    async with lab.fault("no-dns-egress", "web"):
        for address in servers["spec"]["clusterIPs"]:
            assert (await lab.exec(place, *ask, f"@{address}")).status != 0
        for address in await addresses(lab, "web"):
            assert await curl(lab, place, f"http://{host(address)}/") == address
        path = await lab.trace("http://web/", source=place, timeout=1)
        assert path.failure is not None and "NetworkPolicy default/web-egress-" in path.failure.text
    for address in servers["spec"]["clusterIPs"]:
        assert (await lab.exec(place, *ask, f"@{address}")).status == 0
