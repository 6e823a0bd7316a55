"""What `emulab trace` says where the objects are wrong: where the request stopped, why, and a mend that mends it."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path as FilePath

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulab import Lab

from .failing import (
    balancer,
    fails,
    ingress,
    mend,
    pod,
    service,
    stops,
    works,
)
from .tools import (
    INTERPRETER,
    cluster_ip,
    emulab,
    eventually,
    is_ready,
    mounted,
    name,
    output,
    pods,
    program,
    sharing,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULTY = f", command: {program('faulty.py', '8080')}"
FAULTY += ", readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"

SHY = f', command: ["{INTERPRETER}", -m, http.server, --bind, 127.0.0.1, "8080"]'

OBJECTS = [
    pod("web", "web", ports="containerPort: 8080, name: web"),
    pod("asker", "asker", node="node2"),
    pod("faulty", "faulty", FAULTY, node="node2"),
    pod("shy", "shy", SHY),
    service("shy", "shy", "{port: 80, targetPort: 8080}"),
    service("web", "web", "{name: http, port: 80, targetPort: 8080}", "type: NodePort, "),
    service(
        *("nobody", "nobody", "{name: http, port: 80, nodePort: 30081}, {name: dgram, port: 9000, protocol: UDP}"),
        "type: NodePort, ",
    ),
    service("game", "nobody", "{port: 7000}", "type: LoadBalancer, "),
    service("sick", "sick", "{port: 80, targetPort: 8080}"),
    service("misnamed", "web", "{port: 80, targetPort: nope}"),
    service("manual", "", "{port: 80, targetPort: 8080}"),
    service("closed", "faulty", "{port: 80, targetPort: 9999}"),
    service("faulty", "faulty", "{port: 80, targetPort: 8080}"),
    service(
        *("fenced", "web", "{port: 7001, targetPort: 8080}"),
        "type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24], ",
    ),
    service("elsewhere", "", "{port: 80}", "type: ExternalName, externalName: nowhere.example.org, "),
    balancer("private-lb", "10.0.0.100", "10.0.0.0/24"),
    balancer("idle-lb", "203.0.113.50", ""),
    ingress(
        "shop",
        "shop.test",
        {
            "/web": ("web", 80),
            "/delay": ("web", 80),
            "/status": ("web", 80),
            "/nobody": ("nobody", 80),
            "/sick": ("sick", 80),
            "/closed": ("closed", 80),
            "/silent": ("faulty", 80),
            "/reset": ("faulty", 80),
            "/elsewhere": ("elsewhere", 80),
            "/absent": ("absent", 80),
            "/portless": ("web", 81),
        },
    ),
    ingress(
        *("private", "private.test", {"/": ("web", 80)}, ""),
        ", annotations: {emulab.dev/load-balancer: private-lb}",
    ),
]  # fmt: skip

NOBODY = "has no endpoints: 0 pods match its selector app=nobody"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def objects(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """A lab in which the network is well and the objects are wrong."""
    async with Lab.from_text(sharing(tmp_path_factory.getbasetemp()), *OBJECTS, *_secured()) as lab:
        yield lab


async def none_healthy(lab: Lab, balancer: str) -> bool:
    frontends = (await lab.server_status(balancer))["frontends"].values()
    return not any(t["healthy"] for f in frontends for t in f["targets"].values())


async def test_a_service_without_endpoints_is_named_wherever_it_is_asked_from(objects: Lab) -> None:
    """What refuses differs; that the Service has no endpoints, and why, is the same. A pod with its labels mends it."""
    address = await cluster_ip(objects, "nobody")
    [controller] = await pods(objects, "ingress-nginx")
    [game] = await objects.get("Service", "game", "default")
    vip = game["status"]["loadBalancer"]["ingress"][0]["ip"]
    for server in ("lb-default-game", "idle-lb"):
        await eventually(partial(none_healthy, objects, server))
    asked = [
        ("pod/asker", "http://nobody/", "node2", "no-endpoints", "nobody port 80"),
        ("pod/asker", "nobody:9000/udp", "node2", "no-endpoints", "nobody port 9000"),
        ("node1", f"{address}:80", "node1", "no-endpoints", "nobody port 80"),
        ("node1", f"{address}:9000/udp", "node1", "no-endpoints", "nobody port 9000"),
        ("client", "10.0.0.11:30081", "node1", "no-endpoints", "nobody port 80 (http) (node port 30081)"),
        ("client", f"http://{vip}:7000/", "lb-default-game", "no-target", "game port 7000"),
        ("client", "http://203.0.113.50/", "idle-lb", "no-target", "nobody port 80"),
        (
            "client",
            "http://shop.test/nobody",
            f"ingress-nginx.{name(controller)}",
            "no-endpoints",
            "nobody port 80",
        ),
    ]
    traces = await asyncio.gather(*(fails(objects, url, source=source) for source, url, *_ in asked))
    for (_, _, place, reason, what), found in zip(asked, traces, strict=True):
        assert (found.place, found.reason) == (place, reason), found
        assert found.object.startswith(f"Service default/{what}"), found
        assert found.text.startswith(f"{found.object} {NOBODY}"), found
        assert "spec.selector of Service default/" in found.remedy
        if reason == "no-target":
            assert "no target is healthy: 0 of 2" in found.text and found.drops() == [place]
        elif place.startswith("node"):
            assert f"{place} refused it" in found.text and found.drops() == [place]
        else:
            assert "answered 503 by itself" in found.text and found.status == 503
    ports = "containerPort: 80}, {containerPort: 7000}, {containerPort: 9000, protocol: UDP"
    await objects.apply(pod("nobody", "nobody", ports=ports))
    try:

        async def healthy() -> bool:
            return (await objects.trace("http://203.0.113.50/", timeout=20)).failure is None

        await eventually(healthy)
        for source, url, *_ in asked:
            await works(objects, url, source)
    finally:
        await objects.delete("Pod", "nobody")


async def test_a_port_that_a_service_lacks(objects: Lab) -> None:
    address = await cluster_ip(objects, "web")
    for source, node, url in (("pod/asker", "node2", "http://web:81/"), ("node1", "node1", f"{address}:81")):
        found = await fails(objects, url, source=source)
        assert (found.place, found.reason, found.object) == (node, "no-such-port", "Service default/web")
        assert f"Service default/web has no port 81; {node} refused it" in found.text
        assert "80 (http)/TCP" in found.remedy and found.drops() == [node]
    found = await fails(objects, f"udp://{address}:80", source="node1")
    assert (found.place, found.reason, found.object) == ("node1", "no-such-port", "Service default/web")
    assert "Service default/web has no port 80/UDP; node1 refused it" in found.text
    found = await fails(objects, "http://shop.test/portless")
    assert (found.reason, found.object, found.status) == ("no-such-port", "Service default/web", 503)


async def test_a_service_that_does_not_exist(objects: Lab) -> None:
    """An address of the cluster's that no Service has, and an Ingress that names one that isn't there."""
    found = await stops(objects, "10.96.77.77:80", source="node1")
    assert (found.place, found.reason, found.object) == ("node1", "no-such-service", "10.96.77.77")
    assert found.drops() == ["node1"]
    found = await fails(objects, "http://shop.test/absent")
    assert (found.reason, found.object, found.status) == ("no-such-service", "Service default/absent", 503)
    assert "there is no Service default/absent" in found.text


@pytest.fixture
def flag(tmp_path: FilePath) -> FilePath:
    """A file that isn't there yet, where programs of pods may look for it."""
    os.chmod(tmp_path, 0o755)
    return tmp_path / "ready"


async def test_pods_that_are_not_ready(objects: Lab, flag: FilePath) -> None:
    """How many there are and that none is Ready; once the probe succeeds the request does."""
    probe = f", readinessProbe: {{exec: {{command: [test, -e, {flag}]}}, periodSeconds: 1}}"
    await objects.apply(mounted(pod("sick", "sick", probe), flag.parent), ready=False)

    async def running() -> bool:
        return [p["status"]["phase"] for p in await pods(objects, app="sick")] == ["Running"]

    await eventually(running)
    why = "has no endpoints: 1 pod matches its selector app=sick, and it isn't Ready (sick)"
    for source, url in (("pod/asker", "http://sick/"), ("client", "http://shop.test/sick")):
        found = await fails(objects, url, source=source)
        assert (found.reason, found.object) == ("no-endpoints", "Service default/sick port 80")
        assert why in found.text and "emulab describe pod sick -n default" in found.remedy
    await output(objects, "node1", "touch", str(flag))

    async def ready() -> bool:
        return all(is_ready(p) for p in await pods(objects, app="sick"))

    await eventually(ready)
    await objects.ready()  # and the rules know it
    await works(objects, "http://sick/", "pod/asker")
    await objects.delete("Pod", "sick")


async def test_a_target_port_that_no_pod_has(objects: Lab) -> None:
    found = await fails(objects, "http://misnamed/", source="pod/asker")
    assert (found.reason, found.object) == ("no-endpoints", "Service default/misnamed port 80")
    assert (
        "1 pod matches its selector app=web and 1 is Ready, but none has its targetPort nope/TCP"
        in found.text
    )
    assert (
        "spec.ports[0].targetPort of Service default/misnamed: the pods' ports are 8080/TCP (web)"
        in found.remedy
    )
    await objects.apply(service("misnamed", "web", "{port: 80, targetPort: web}"))
    await works(objects, "http://misnamed/", "pod/asker")
    await objects.apply(service("misnamed", "web", "{port: 80, targetPort: nope}"))


async def test_a_service_without_a_selector(objects: Lab) -> None:
    found = await fails(objects, "http://manual/", source="pod/asker")
    assert (found.reason, found.object) == ("no-endpoints", "Service default/manual port 80")
    assert "it has no selector, and no EndpointSlice is for it" in found.text
    assert found.remedy == "apply an EndpointSlice for Service default/manual"
    [web] = await pods(objects, app="web")
    await objects.apply(
        json.dumps(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "manual-1", "labels": {"kubernetes.io/service-name": "manual"}},
                "addressType": "IPv4",
                "ports": [{"port": 8080}],
                "endpoints": [{"addresses": [web["status"]["podIP"]]}],
            }
        )
    )
    await works(objects, "http://manual/", "pod/asker")
    await objects.delete("EndpointSlice", "manual-1")


async def test_an_acl_that_leaves_the_sender_out(objects: Lab) -> None:
    """Whose it is and what it allows; with the address added the request goes through."""
    [fenced] = await objects.get("Service", "fenced", "default")
    vip = fenced["status"]["loadBalancer"]["ingress"][0]["ip"]
    asked = {
        "http://private.test/": ("private-lb", "LoadBalancer private-lb", "spec.sourceRanges", "10.0.0.0/24"),
        f"http://{vip}:7001/": (
            *("lb-default-fenced", "Service default/fenced"),
            *("spec.loadBalancerSourceRanges", "192.0.2.0/24"),
        ),
    }
    for url, (place, what, field, ranges) in asked.items():
        found = await fails(objects, url)
        assert (found.place, found.reason, found.object) == (place, "acl", what)
        assert found.text == f"{place} refused client (198.51.100.2): {field} of {what} allows {ranges} alone"
        assert found.remedy == f"add 198.51.100.2/32 to {field} of {what}"
        assert found.drops() == [place]
    await objects.apply(balancer("private-lb", "10.0.0.100", "10.0.0.0/24, 198.51.100.2/32"))
    await works(objects, "http://private.test/")
    await objects.apply(balancer("private-lb", "10.0.0.100", "10.0.0.0/24"))


# TLS


def certificate(host: str, begins: int, ends: int) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM, valid between these days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem), private


def secret(called: str, host: str, begins: int, ends: int) -> str:
    cert, key = (base64.b64encode(part).decode() for part in certificate(host, begins, ends))
    return (
        f"{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: {called}}},"
        f' data: {{tls.crt: "{cert}", tls.key: "{key}"}}}}\n---\n'
    )


def _secured() -> list[str]:
    """Ingresses with TLS, and what is wrong with their certificates in their names."""
    found = [
        secret("old", "old.test", -9, -2),
        secret("young", "young.test", 2, 9),
        secret("other", "else.test", -1, 9),
    ]
    for host in ("old", "young", "other", "lost"):
        tls = f"tls: [{{hosts: [{host}.test], secretName: {host}}}], "
        found.append(ingress(host, f"{host}.test", {"/": ("web", 80)}, tls))
    return found


@pytest.mark.parametrize(
    ("host", "reason", "what", "says"),
    [
        (
            "old",
            "certificate-expired",
            "Secret default/old",
            r"certificate for old\.test .* expired on \d{4}-",
        ),
        ("young", "certificate-not-yet-valid", "Secret default/young", r"isn't valid before \d{4}-"),
        (
            "other",
            "certificate-name",
            "Secret default/other",
            r"for ingress\.local .* not for other\.test: the one in Secret default/other, .* for else\.test, not other",
        ),
        (
            "lost",
            "certificate-name",
            "Secret default/lost",
            r"Secret default/lost, which .* names, does not exist",
        ),
        (
            "shop",
            "certificate-name",
            "Ingress default/shop",
            r"for ingress\.local .*default/shop has no spec\.tls",
        ),
    ],
)
async def test_certificates_that_a_client_does_not_take(
    objects: Lab, host: str, reason: str, what: str, says: str
) -> None:
    """Whose and what is wrong with it; --insecure goes on; a right certificate in the named Secret mends it."""
    [controller] = await pods(objects, "ingress-nginx")
    url = f"https://{host}.test/{'web' if host == 'shop' else ''}"
    found = await fails(objects, url)
    assert (found.place, found.reason, found.object) == (f"ingress-nginx.{name(controller)}", reason, what)
    assert re.search(says, found.text), found.text
    assert what in found.remedy and "--insecure" in found.remedy
    await works(objects, url, verify=False)
    done = await emulab("-l", objects.name, "trace", "--insecure", "-o", "json", url)
    assert (done.status, done.stderr) == (0, b"") and json.loads(done.stdout)["request"]["status"] == 200
    if host != "shop":
        await objects.apply(secret(host, f"{host}.test", -1, 9))
        await works(objects, url)


async def test_a_server_that_does_not_speak_tls(objects: Lab) -> None:
    found = await fails(objects, "https://faulty:80/web", source="pod/asker")
    assert (found.place, found.reason, found.object) == ("default.faulty", "no-tls", "pod default/faulty")
    assert "pod default/faulty doesn't speak TLS on" in found.text and "HTTP 200" in found.text
    assert found.remedy == "ask without TLS: emulab trace http://faulty:80/web"
    await works(objects, "http://faulty:80/web", "pod/asker")


async def test_a_stand_in_speaks_tls_to_who_does_with_a_certificate_of_its_own(objects: Lab) -> None:
    found = await fails(objects, "https://web:80/web", source="pod/asker")
    assert (found.place, found.reason, found.object) == ("default.web", "certificate-name", "pod default/web")


# the ingress


async def test_no_ingress_rule(objects: Lab) -> None:
    """A host that none has, and a path that the host's Ingress has not."""
    [controller] = await pods(objects, "ingress-nginx")
    place = f"ingress-nginx.{name(controller)}"
    found = await fails(objects, "http://shop.test/other")
    assert (found.place, found.reason, found.object) == (place, "no-ingress-rule", "Ingress default/shop")
    assert "Ingress default/shop has the host shop.test and no path for /other" in found.text
    assert "/web (Prefix)" in found.remedy and found.status == 404
    found = await fails(objects, "http://203.0.113.10/")
    assert (found.place, found.reason, found.object) == (place, "no-ingress-rule", "203.0.113.10")
    assert "no Ingress has the host 203.0.113.10" in found.text


@pytest.mark.privilege
async def test_an_upstream_that_refuses_the_ingress(objects: Lab) -> None:
    """502: the port behind the Service, and not the ingress, is what is wrong. The named field mends it."""
    for source, url, status in (
        ("client", "http://shop.test/closed", 502),
        ("pod/asker", "http://closed/", None),
    ):
        found = await fails(objects, url, source=source)
        assert (found.place, found.reason, found.object) == (
            "default.faulty",
            "closed-port",
            "pod default/faulty",
        )
        assert re.match(
            r"nothing listens on tcp [\d.]+:9999 in pod default/faulty, to which Service default/closed port 80",
            found.text,
        )
        assert ("answered 502 by itself" in found.text) == (status == 502) == (found.status == 502)
        assert "spec.ports[0].targetPort of Service default/closed" in found.remedy
        found.kernel("NO_SOCKET")
    await objects.apply(service("closed", "faulty", "{port: 80, targetPort: 8080}"))
    await works(objects, "http://shop.test/closed")
    await objects.apply(service("closed", "faulty", "{port: 80, targetPort: 9999}"))


async def test_a_program_that_listens_on_loopback_alone(objects: Lab) -> None:
    """It is there, and nobody else reaches it: a port that is right needs no other."""

    async def found() -> bool:
        path = await objects.trace("http://shy/", source="pod/asker", timeout=20)
        text = path.failure.text if path.failure else ""
        return "in pod default/shy, but a program does on 127.0.0.1:8080 alone" in text

    await eventually(found)  # once it has begun
    failure = await fails(objects, "http://shy/", source="pod/asker")
    assert (failure.place, failure.reason) == ("default.shy", "closed-port")
    assert failure.remedy.startswith("have it listen on 0.0.0.0, which is every address")


@pytest.mark.parametrize(
    "url", ["http://shop.test/silent", "http://faulty/silent", "http://shop.test/delay/20"]
)
async def test_a_program_that_does_not_answer_in_time(objects: Lab, url: str) -> None:
    """The way is open: that is said, and nobody in it is blamed."""
    found = await fails(objects, url, source="client" if "shop" in url else "pod/asker", timeout=2)
    which = "web" if "delay" in url else "faulty"
    assert (found.place, found.reason, found.object) == (
        f"default.{which}",
        "no-answer",
        f"pod default/{which}",
    )
    assert f"was delivered to pod default/{which}, and no answer came within 2 s" in found.text
    assert f"emulab logs {which} -n default" in found.remedy and "--timeout" in found.remedy
    assert found.drops() == [] and found.kernel_reason is None


async def test_an_upstream_whose_name_does_not_resolve(objects: Lab) -> None:
    found = await fails(objects, "http://shop.test/elsewhere", timeout=4)
    assert (found.reason, found.object) == ("upstream-name", "Service default/elsewhere")
    assert "nowhere.example.org" in found.text


@pytest.mark.parametrize(("path", "reason"), [("/reset", "reset"), ("/cut", "cut-off")])
async def test_an_answer_that_is_broken_off(objects: Lab, path: str, reason: str) -> None:
    found = await fails(objects, f"http://faulty{path}", source="pod/asker")
    assert (found.place, found.reason, found.object) == ("default.faulty", reason, "pod default/faulty")
    assert re.search(r"after \d+ bytes of its answer", found.text), found.text
    assert found.remedy.endswith("emulab logs faulty -n default")


async def test_an_answer_that_is_broken_off_behind_the_ingress(objects: Lab) -> None:
    found = await fails(objects, "http://shop.test/reset")
    assert (found.place, found.reason, found.object) == ("default.faulty", "reset", "pod default/faulty")


async def test_an_error_of_the_container_is_no_failure_of_the_way(objects: Lab) -> None:
    for code in (404, 500, 503):
        path = await objects.trace(f"http://shop.test/status/{code}")
        assert (path.status, path.failure) == (code, None)


# ports and names


async def test_ports_on_which_nobody_listens(objects: Lab) -> None:
    [web] = await pods(objects, app="web")
    address = web["status"]["podIP"]
    for url, protocol in ((f"{address}:81", "tcp"), (f"{address}:999/udp", "udp")):
        found = await fails(objects, url, source="pod/asker")
        assert (found.place, found.reason, found.object) == ("default.web", "closed-port", "pod default/web")
        assert found.text == f"nothing listens on {protocol} {url.partition('/')[0]} in pod default/web"
        found.kernel("NO_SOCKET")
        assert f"{protocol} " in found.text and "ss -l" in found.remedy
        await mend(objects, found.remedy)  # it looks, and so must run
    for url in ("10.0.0.11:30999", "10.0.0.11:30999/udp"):
        found = await fails(objects, url)
        assert (found.place, found.reason, found.object) == ("node1", "closed-port", "node node1")
        assert "no Service has the node port 30999/" in found.text
        found.kernel("NO_SOCKET")
    found = await fails(objects, "https://private.test/")
    assert (found.place, found.reason, found.object) == (
        "private-lb",
        "closed-port",
        "LoadBalancer private-lb",
    )
    assert found.remedy == "add 443 to spec.ports of LoadBalancer private-lb"


async def test_names_that_do_not_exist(objects: Lab) -> None:
    """Who was asked for which names, and those that are nearly the same."""
    found = await fails(objects, "http://shap.test/")
    assert (found.place, found.reason, found.object) == ("resolver", "nxdomain", "shap.test")
    assert "NXDOMAIN" in found.text and "asked resolver for shap.test; much like it: shop.test" in found.text
    found = await fails(objects, "http://nothere/", source="pod/asker")
    assert found.place.startswith("kube-system.coredns-") and found.reason == "nxdomain"
    tried = "nothere.default.svc.cluster.local, nothere.svc.cluster.local, nothere.cluster.local, nothere"
    assert f"for {tried}" in found.text and "Service kube-system/kube-dns" in found.text


async def test_a_name_of_the_clusters_asked_for_outside(objects: Lab) -> None:
    for host in ("web", "web.default", "web.default.svc.cluster.local"):
        found = await fails(objects, f"http://{host}/")
        assert (found.reason, found.object) == ("nxdomain", host)
        assert "it is a name of Service default/web, which only the cluster's DNS has" in found.text
        assert "--from pod/NAME" in found.remedy


async def test_a_service_whose_workload_has_no_replicas(objects: Lab) -> None:
    """The labels are right: what mends it is the number of replicas."""
    idle = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle}
spec:
  replicas: 0
  selector: {matchLabels: {app: idle}}
  template: {metadata: {labels: {app: idle}}, spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}}
---"""
    await objects.apply(idle + service("idle", "idle", "{port: 80, targetPort: 8080}"))
    found = await fails(objects, "http://idle/", source="pod/asker")
    assert (found.reason, found.object) == ("no-endpoints", "Service default/idle port 80")
    assert "Deployment default/idle, whose pods it selects, has 0 replicas" in found.text
    assert found.remedy == "emulab scale deployment/idle --replicas 1 -n default"
    await objects.scale("idle", 1)
    await works(objects, "http://idle/", "pod/asker")
