"""Names: the cluster's own, the internet's, and those of Zone objects."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.errors import UserError
from emulab.model.families import IPV4, IPV6

from .families import At, at_of, lab_in, worlds_of
from .tools import capture, cluster_ip, eventually, name, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: data}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: data}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: sql, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: crowd}
spec:
  clusterIP: None
  selector: {app: crowd}
  ports: [{name: http, port: 80}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: 100
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec: {containers: [{name: crowd, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: twins}
spec: {clusterIP: None, selector: {app: twins}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: twins}
spec:
  replicas: 2
  selector: {matchLabels: {app: twins}}
  template:
    metadata: {labels: {app: twins}}
    spec: {hostname: same, subdomain: twins, setHostnameAsFQDN: true, containers: [{name: c}]}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: 113.0.203.in-addr.arpa}
spec: {records: [{name: "10", type: PTR, value: www.public.test.}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {type: ExternalName, externalName: shop.example.com}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
    - host: shop.example.com
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {containers: [{name: asker, ports: [{containerPort: 9999}]}]}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: office}
spec: {network: vpc}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: public.test}
spec:
  records:
    - {name: www, type: A, value: 203.0.113.10, ttl: 30}
    - {name: alias, type: CNAME, value: www.public.test}
    - {name: "@", type: TXT, value: hello world}
    - {name: "@", type: MX, value: 10 mail.public.test}
    - {name: "@", type: CAA, value: 0 issue "ca.test"}
    - {name: "*.pool", type: A, value: 203.0.113.11}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: corp.test}
spec: {visibility: private, records: [{name: wiki, type: A, value: 10.0.0.77}]}
"""

CHANGING = """
apiVersion: emulab.dev/v1
kind: Zone
metadata: {{name: moving.test}}
spec: {{records: [{{name: www, type: {type}, value: '{address}', ttl: 1}}]}}
"""


REVERSE = {"113.0.203.in-addr.arpa": "0.0.0.0.2.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", '"10"': f'"a{15 * ".0"}"'}
"""The names of the reverse zone, and of the one in it, in IPv6."""
TYPES = {"A", "AAAA", "SRV", "TXT", "MX", "CAA"}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("dns"))
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    world = WORLD
    for four, six in REVERSE.items() if request.param[0] is IPV6 else ():
        world = world.replace(four, six)
    async with lab_in(request.param, world) as made:
        yield made


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


async def dig(lab: Lab, place: str, *question: str) -> str:
    """What dig prints; where no type is asked for, of addresses of the primary family."""
    plain = "-x" not in question and not TYPES.intersection(question)
    return await output(
        *(lab, place, "dig", "+tries=3", "+time=5", *question),
        *([at_of(lab).family.record] if plain else []),
    )


def dashed(address: str) -> str:
    """The label of an address in the cluster's DNS."""
    return re.sub(r"[.:]", "-", address)


async def short(lab: Lab, place: str, *question: str) -> list[str]:
    """The data of the answers, sorted."""
    return sorted((await dig(lab, place, "+short", *question)).splitlines())


def status(text: str) -> str:
    found = re.search(r"status: (\w+)", text)
    assert found, text
    return found[1]


@pytest.mark.privilege
async def test_a_pods_resolv_conf_is_the_kubelets(lab: Lab, at: At) -> None:
    """Search domains of the namespace, ndots:5, kube-dns; and the pod's own line in /etc/hosts."""
    lines = (await output(lab, "pod/asker", "cat", "/etc/resolv.conf")).splitlines()
    assert lines == [
        "search default.svc.cluster.local svc.cluster.local cluster.local",
        f"nameserver {at('10.96.0.10')}",
        "options ndots:5",
    ]
    other = await output(lab, "pod/db-0", "cat", "/etc/resolv.conf", namespace="data")
    assert other.startswith("search data.svc.cluster.local svc.cluster.local cluster.local\n")
    hosts = await output(lab, "pod/asker", "cat", "/etc/hosts")
    [pod] = await lab.get("Pod", "asker", "default")
    assert re.search(rf"(?m)^{re.escape(pod['status']['podIP'])}\s+asker$", hosts)
    assert await output(lab, "pod/asker", "hostname") == "asker"


@pytest.mark.parametrize(
    "spelling", ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "WEB"]
)
async def test_a_service_is_found_by_every_form_of_its_name(lab: Lab, at: At, spelling: str) -> None:
    """As the C library of a pod resolves it, with its search list."""
    found = await output(lab, "pod/asker", "getent", f"ahostsv{at.family.version}", spelling)
    assert found.split()[0] == await cluster_ip(lab, "web")


async def test_a_service_of_another_namespace_needs_its_namespace(lab: Lab) -> None:
    """`db` isn't found from `default`, `db.data` is; from inside `data`, `db` is."""
    addresses = {p["status"]["podIP"] for p in await pods(lab, "data")}
    assert await lab.resolve("db.data", "pod/asker") in addresses
    assert await lab.resolve("db", "pod/db-0", namespace="data") in addresses
    with pytest.raises(UserError, match="no such name"):
        await lab.resolve("db", "pod/asker")


async def test_headless_services_have_an_address_for_each_pod(lab: Lab) -> None:
    """The Service's name has all addresses; each pod of a StatefulSet has its hostname, and a PTR back."""
    by_name = {name(p): p["status"]["podIP"] for p in await pods(lab, "data")}
    assert set(by_name) == {"db-0", "db-1"}
    domain = "db.data.svc.cluster.local"
    assert await short(lab, "pod/asker", domain) == sorted(by_name.values())
    for pod, address in by_name.items():
        assert await short(lab, "pod/asker", f"{pod}.{domain}") == [address]
        assert await short(lab, "pod/asker", "-x", address) == [f"{pod}.{domain}."]


async def test_srv_records_name_port_and_target(lab: Lab) -> None:
    """Of a ClusterIP Service the Service itself, of a headless one each pod."""
    assert await short(lab, "pod/asker", "SRV", "_http._tcp.web.default.svc.cluster.local") == [
        "0 100 80 web.default.svc.cluster.local."
    ]
    assert await short(lab, "pod/asker", "SRV", "_dns._udp.web.default.svc.cluster.local") == [
        "0 100 53 web.default.svc.cluster.local."
    ]
    assert await short(lab, "pod/asker", "SRV", "_sql._tcp.db.data.svc.cluster.local") == [
        f"0 50 5432 db-{i}.db.data.svc.cluster.local." for i in range(2)
    ]
    # What peer finders ask for; the weight is shared, as CoreDNS has it.
    assert await short(lab, "pod/asker", "SRV", "db.data.svc.cluster.local") == [
        f"0 50 5432 db-{i}.db.data.svc.cluster.local." for i in range(2)
    ]


async def test_a_cluster_ip_has_a_ptr_record(lab: Lab) -> None:
    """Back from the address to the name."""
    assert await short(lab, "pod/asker", "-x", await cluster_ip(lab, "web")) == [
        "web.default.svc.cluster.local."
    ]


async def test_pods_have_records_by_their_dashed_address(lab: Lab) -> None:
    """CoreDNS' pod records."""
    [pod] = await lab.get("Pod", "asker", "default")
    address = pod["status"]["podIP"]
    assert await short(lab, "pod/asker", f"{dashed(address)}.default.pod.cluster.local") == [address]


async def test_endpoints_of_every_service_have_names_and_lead_back(lab: Lab) -> None:
    """With a cluster IP or without, with a hostname or without; and it is one name only while it is ready."""
    for p in await pods(lab, app="web"):
        address = p["status"]["podIP"]
        own = f"{dashed(address)}.web.default.svc.cluster.local"
        assert await short(lab, "pod/asker", own) == [address]
        assert await short(lab, "pod/asker", "-x", address) == [f"{own}."]
    [member, *_] = await pods(lab, app="crowd")
    address = member["status"]["podIP"]
    assert await short(lab, "pod/asker", "-x", address) == [
        f"{dashed(address)}.crowd.default.svc.cluster.local."
    ]


async def test_pods_of_one_hostname_are_all_told_under_it(lab: Lab) -> None:
    """kubernetes/dns#116; with `setHostnameAsFQDN` the pod's own name for itself is the whole one."""
    addresses = sorted(p["status"]["podIP"] for p in await pods(lab, app="twins"))
    assert len(addresses) == 2
    for question in ("twins", "same.twins"):
        assert await short(lab, "pod/asker", f"{question}.default.svc.cluster.local") == addresses
    [pod, *_] = await pods(lab, app="twins")
    assert await output(lab, f"pod/{name(pod)}", "hostname") == "same.twins.default.svc.cluster.local"


async def test_the_api_server_has_a_name_and_an_address(lab: Lab, at: At) -> None:
    """Nothing listens there: a cluster whose API server is down refuses, too, and a trace says why."""
    assert await lab.resolve("kubernetes.default", "pod/asker") == at("10.96.0.1")
    assert await short(lab, "pod/asker", "SRV", "_https._tcp.kubernetes.default.svc.cluster.local") == [
        "0 100 443 kubernetes.default.svc.cluster.local."
    ]
    assert await short(lab, "pod/asker", "-x", at("10.96.0.1")) == ["kubernetes.default.svc.cluster.local."]
    path = await lab.trace("https://kubernetes.default/", source="pod/asker")
    assert path.failure is not None and path.failure.reason == "closed-port"
    assert path.failure.object == "Service default/kubernetes port 443 (https)"
    assert f"{at.host(at.node1)}:6443 in node node1: a lab has no Kubernetes API server" in path.failure.text


async def test_reverse_names_of_others_are_asked_for_upstream(lab: Lab, at: At) -> None:
    """The cluster's DNS has the whole reverse trees, and lets through what it doesn't know."""
    assert await short(lab, "pod/asker", "-x", at.vip) == ["www.public.test."]
    assert status(await dig(lab, "pod/asker", "-x", at("203.0.113.11"))) == "NXDOMAIN"


async def test_an_external_name_is_a_cname_that_is_followed(lab: Lab, at: At) -> None:
    """The cluster DNS answers with the alias and, from upstream, what it stands for."""
    assert await short(lab, "pod/asker", "shop.default.svc.cluster.local") == [at.vip, "shop.example.com."]


async def test_a_pod_resolves_names_of_the_internet(lab: Lab, at: At) -> None:
    """kube-dns asks the resolver, which asks the authoritative server: each hop is seen."""
    async with (
        capture(lab, "resolver", f"port 53 and host {at('10.0.0.2')}", link="eth1") as at_resolver,
        capture(lab, "dns", "port 53") as at_dns,
    ):
        assert await short(lab, "pod/asker", "alias.public.test") == [at.vip, "www.public.test."]
        asked = rf"\.53: .*{at.family.record}\? alias\.public\.test"
        await at_resolver.until(rf"({at.node1}|{at.node2})\.\d+ > {at('10.0.0.2')}{asked}")
        await at_dns.until(rf"{at('198.51.100.53')}\.\d+ > {at.dns}{asked}")
    assert (await lab.request("http://shop.example.com/", source="pod/asker")).json()["ingress"] == "shop"


async def test_names_that_do_not_exist(lab: Lab, at: At) -> None:
    """NXDOMAIN with an SOA, inside the cluster and outside; NOERROR without answers for another type."""
    for place, question in (
        ("pod/asker", "nothing.default.svc.cluster.local"),
        ("pod/asker", "nothing.public.test"),
        ("client", "nothing.public.test"),
        ("client", "nothing.test"),
    ):
        text = await dig(lab, place, question)
        assert status(text) == "NXDOMAIN" and "\tSOA\t" in text, text
    other = "AAAA" if at.family is IPV4 else "A"
    text = await dig(lab, "pod/asker", other, "web.default.svc.cluster.local")
    assert status(text) == "NOERROR" and "ANSWER: 0" in text and "\tSOA\t" in text


async def test_dns_over_tcp(lab: Lab, at: At) -> None:
    """The same answers over TCP, from all three servers."""
    assert await short(lab, "pod/asker", "+tcp", "web.default.svc.cluster.local") == [
        await cluster_ip(lab, "web")
    ]
    assert await short(lab, "client", "+tcp", "www.public.test") == [at.vip]
    assert await short(lab, "client", "+tcp", f"@{at.dns}", "www.public.test") == [at.vip]


async def test_an_answer_that_does_not_fit_is_truncated_and_asked_again_over_tcp(lab: Lab, at: At) -> None:
    """A hundred addresses: TC over UDP, all of them over TCP, which dig tries by itself."""
    question = "crowd.default.svc.cluster.local"
    cut = await dig(lab, "pod/asker", "+ignore", "+noedns", question)
    assert re.search(r"flags: [^;]*\btc\b", cut)
    everything = sorted(p["status"]["podIP"] for p in await pods(lab, app="crowd"))
    assert len(everything) == 100
    async with capture(lab, "pod/asker", "tcp port 53") as seen:
        assert await short(lab, "pod/asker", question) == everything
        await seen.until(rf"> {at('10.96.0.10')}\.53: Flags \[S\]")


async def test_public_zones_hold_records_of_all_types(lab: Lab, at: At) -> None:
    """A, CNAME, TXT and MX of a Zone object, from the client."""
    assert await short(lab, "client", "www.public.test") == [at.vip]
    assert await short(lab, "client", "TXT", "public.test") == ['"hello world"']
    assert await short(lab, "client", "MX", "public.test") == ["10 mail.public.test."]
    assert await short(lab, "client", "CAA", "public.test") == ['0 issue "ca.test"']
    assert await short(lab, "client", "any.pool.public.test") == [at("203.0.113.11")]


async def test_a_private_zone_is_for_the_vpc_alone(lab: Lab, at: At) -> None:
    """The office client and pods see it; the internet's client gets NXDOMAIN, also from `dns` itself."""
    assert await short(lab, "office", "wiki.corp.test") == [at("10.0.0.77")]
    assert await short(lab, "pod/asker", "wiki.corp.test") == [at("10.0.0.77")]
    assert status(await dig(lab, "client", "wiki.corp.test")) == "NXDOMAIN"
    assert status(await dig(lab, "client", f"@{at.dns}", "wiki.corp.test")) == "NXDOMAIN"


async def test_the_authoritative_server_says_so_and_does_not_recurse(lab: Lab, at: At) -> None:
    """`aa` from dns, not from the resolver, which offers recursion."""
    authoritative = await dig(lab, "client", f"@{at.dns}", "www.public.test")
    assert re.search(r"flags: [^;]*\baa\b", authoritative) and not re.search(
        r"flags: [^;]*\bra\b", authoritative
    )
    cached = await dig(lab, "client", "www.public.test")
    assert re.search(r"flags: [^;]*\bra\b", cached) and not re.search(r"flags: [^;]*\baa\b", cached)


async def test_a_changed_record_is_seen_when_its_ttl_is_over(lab: Lab, at: At) -> None:
    """The resolver keeps the old answer for the second it may, and no longer."""
    before, after = at("203.0.113.81"), at("203.0.113.82")
    await lab.apply(CHANGING.format(type=at.family.record, address=before))
    assert await lab.resolve("www.moving.test") == before
    known = time.monotonic()
    await lab.apply(CHANGING.format(type=at.family.record, address=after))
    assert await short(lab, "client", f"@{at.dns}", "www.moving.test") == [after]

    async def moved() -> bool:
        asked = time.monotonic()
        new = await lab.resolve("www.moving.test") == after
        assert new or asked - known < 1.1, "asked when the second was over"
        return new

    await eventually(moved)


async def test_names_published_for_an_ingress_go_with_it(lab: Lab, at: At) -> None:
    """The host of an Ingress is in the public DNS while the Ingress is there."""
    ingress = """
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {name: passing}
    spec:
      rules:
        - host: passing.example.com
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
    """
    assert status(await dig(lab, "client", f"@{at.dns}", "passing.example.com")) == "NXDOMAIN"
    await lab.apply(ingress)
    assert await short(lab, "client", f"@{at.dns}", "passing.example.com") == [at.vip]
    await lab.delete("Ingress", "passing")
    assert status(await dig(lab, "client", f"@{at.dns}", "passing.example.com")) == "NXDOMAIN"
