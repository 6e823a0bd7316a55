"""What `emulab trace` says of requests that fail: where they stopped, why, and a mend that mends it."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulab import Lab
from emulab.observe.drops import open_drops
from emulab.observe.path import EVENTS, REASONS, Failure

from .tools import PROGRAMS, PYTHON, cluster_ip, emulab, eventually, is_ready, name, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _kernel_tells() -> bool:
    """Whether this process may watch what the kernel drops, which a lab of its own may then, too."""
    opened, _ = open_drops()
    for fd in opened:
        os.close(fd)
    return bool(opened)


KERNEL_TELLS = _kernel_tells()


# --- asking -------------------------------------------------------------------------------------------------


class Failed(NamedTuple):
    """A trace that failed, as the command line tells of it."""

    place: str
    reason: str
    text: str
    remedy: str
    object: str
    kernel_reason: str | None
    status: int | None
    hops: list[dict[str, Any]]

    def drops(self) -> list[str]:
        """The places with a `drop` hop."""
        return [hop["place"] for hop in self.hops if hop["event"] == "drop"]

    def kernel(self, reason: str) -> None:
        """The kernel's own reason, where it tells one, is this one, and the drop is a hop."""
        assert self.kernel_reason == (reason if KERNEL_TELLS else None), self
        if KERNEL_TELLS:
            assert self.place in self.drops(), self


async def fails(lab: Lab, url: str, *more: str, source: str = "client", timeout: str = "10s") -> Failed:
    """Traces by the command line what must fail: one line says so, and the exit status is 1."""
    done = await emulab(
        "-l", lab.name, "trace", "--from", source, "--timeout", timeout, "-o", "json", *more, url
    )
    assert done.status == 1, done.stdout.decode()
    request = json.loads(done.stdout)["request"]
    failure = request["failure"]
    assert done.stderr.decode() == f"emulab: trace: {failure['text']}; {failure['remedy']}\n"
    assert failure["reason"] in REASONS and failure["place"] and failure["remedy"], failure
    assert "\n" not in failure["text"] + failure["remedy"] and "None" not in failure["text"], failure
    hops = json.loads(done.stdout)["hops"]
    assert {hop["event"] for hop in hops} <= set(EVENTS)
    return Failed(*(failure[f] for f in Failed._fields[:6]), status=request["status"], hops=hops)


async def stops(lab: Lab, url: str, *more: str, source: str = "client", timeout: str = "0.5s") -> Failed:
    """As `fails`, for what the kernels alone stop without a word: they need no time for what they do."""
    return await fails(lab, url, *more, source=source, timeout=timeout)


async def works(lab: Lab, url: str, source: str = "client", **options: Any) -> None:
    """The same request as before doesn't fail any more."""
    path = await lab.trace(url, source=source, timeout=20, **options)
    assert path.failure is None, path.failure


async def mend(lab: Lab, remedy: str) -> None:
    """Runs the command that a remedy ends with."""
    arguments = shlex.split(remedy[remedy.rindex("emulab exec") :])
    done = await emulab("-l", lab.name, *arguments[1:])
    assert done.status == 0, f"{remedy}: {done.stderr.decode()}"


@asynccontextmanager
async def rule(lab: Lab, place: str, hook: str, text: str) -> AsyncIterator[None]:
    """A rule of a user's own in a place, taken away again whole."""
    table = f"table ip fence {{ chain c {{ type filter hook {hook} priority 0; {text}; }}; }}"
    done = await lab.exec(place, "nft", "-f", "-", stdin=f"{table}\n".encode())
    assert done.status == 0, done.stderr
    try:
        yield
    finally:
        await output(lab, place, "nft", "delete", "table", "ip", "fence")


@asynccontextmanager
async def kept(lab: Lab, place: str) -> AsyncIterator[None]:
    """Whatever becomes of a place's link and routes meanwhile, they are as they were afterwards."""
    link = "vpc" if place == "router" else "eth0"
    [before] = json.loads(await ip(lab, place, "-j", "link", "show", "dev", link))
    routes = (await ip(lab, place, "route", "show")).splitlines()
    neighbours = (await ip(lab, place, "neigh", "show", "nud", "permanent")).splitlines()
    try:
        yield
    finally:
        await ip(lab, place, "link", "set", link, "up", "mtu", str(before["mtu"]))
        for line in neighbours:
            await ip(lab, place, "neigh", "replace", *line.replace(" PERMANENT", " nud permanent").split())
        now = (await ip(lab, place, "route", "show")).splitlines()
        for line in now:
            if line not in routes:
                await ip(lab, place, "route", "del", *line.split())
        for line in sorted(routes, key=lambda line: " via " in line):
            if line not in now:
                await ip(lab, place, "route", "replace", *line.split())
        await ip(lab, place, "route", "flush", "cache")


async def ip(lab: Lab, place: str, *arguments: str) -> str:
    return await output(lab, place, "ip", *arguments)


# --- objects that are wrong ---------------------------------------------------------------------------------


def pod(
    called: str, app: str, more: str = "", node: str = "node1", ports: str = "containerPort: 8080"
) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {called}, labels: {{app: {app}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: {app}, ports: [{{{ports}}}]{more}}}]
---
"""


def service(called: str, app: str, ports: str, more: str = "") -> str:
    selector = f"selector: {{app: {app}}}, " if app else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {called}}}
spec: {{{selector}{more}ports: [{ports}]}}
---
"""


def balancer(called: str, address: str, ranges: str) -> str:
    network = "vpc" if address.startswith("10.") else "internet"
    target = (
        "{ingress: true}"
        if called == "private-lb"
        else "{service: {namespace: default, name: nobody, port: 80}}"
    )
    return f"""
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: {called}}}
spec: {{network: {network}, address: {address}, ports: [80], target: {target}, sourceRanges: [{ranges}]}}
---
"""


def ingress(
    called: str, host: str, backends: dict[str, tuple[str, int]], more: str = "", notes: str = ""
) -> str:
    paths = [
        {
            "path": path,
            "pathType": "Prefix",
            "backend": {"service": {"name": backend, "port": {"number": port}}},
        }
        for path, (backend, port) in backends.items()
    ]
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {called}{notes}}}
spec: {{{more}rules: [{{host: {host}, http: {{paths: {json.dumps(paths)}}}}}]}}
---
"""


FAULTY = f', command: ["{PYTHON}", "{PROGRAMS / "faulty.py"}", "8080"]'
FAULTY += ", readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"

OBJECTS = [
    pod("web", "web", ports="containerPort: 8080, name: web"),
    pod("asker", "asker", node="node2"),
    pod("faulty", "faulty", FAULTY, node="node2"),
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
async def objects() -> AsyncIterator[Lab]:
    """A lab in which the network is well and the objects are wrong."""
    async with Lab.from_text(*OBJECTS, *_secured()) as lab:
        yield lab


async def test_a_service_without_endpoints_is_named_wherever_it_is_asked_from(objects: Lab) -> None:
    """What refuses differs; that the Service has no endpoints, and why, is the same. A pod with its labels mends it."""
    address = await cluster_ip(objects, "nobody")
    [controller] = await pods(objects, "ingress-nginx")
    [game] = await objects.get("Service", "game", "default")
    vip = game["status"]["loadBalancer"]["ingress"][0]["ip"]
    asked = [
        ("pod/asker", "http://nobody/", "node2", "no-endpoints", "nobody port 80"),
        ("pod/asker", "nobody:9000/udp", "node2", "no-endpoints", "nobody port 9000"),
        ("node1", f"{address}:80", "node1", "no-endpoints", "nobody port 80"),
        ("node1", f"{address}:9000/udp", "node1", "no-endpoints", "nobody port 9000"),
        ("client", "10.0.0.11:30081", "node1", "no-endpoints", "nobody port 80 (http) (node port 30081)"),
        ("client", f"{vip}:7000", "lb-default-game", "no-target", "game port 7000"),
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
    await objects.apply(pod("nobody", "nobody", ports="containerPort: 80"))
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
    await objects.apply(pod("sick", "sick", probe), ready=False)

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
        f"{vip}:7001": (
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
            r"for else\.test .* is not for other\.test; it is the one",
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
    found = await fails(objects, "https://web:80/web", source="pod/asker")
    assert (found.place, found.reason, found.object) == ("default.web", "no-tls", "pod default/web")
    assert "pod default/web doesn't speak TLS on" in found.text and "HTTP 400" in found.text
    assert found.remedy == "ask without TLS: emulab trace http://web:80/web"
    await works(objects, "http://web:80/web", "pod/asker")


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


@pytest.mark.parametrize(
    "url", ["http://shop.test/silent", "http://faulty/silent", "http://shop.test/delay/20"]
)
async def test_a_program_that_does_not_answer_in_time(objects: Lab, url: str) -> None:
    """The way is open: that is said, and nobody in it is blamed."""
    found = await fails(objects, url, source="client" if "shop" in url else "pod/asker", timeout="2s")
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
    found = await fails(objects, "http://shop.test/elsewhere", timeout="2s")
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


# --- wires that are broken ----------------------------------------------------------------------------------

WIRES = [
    pod("web", "web", ports="containerPort: 8080"),
    pod("far", "far", node="node2", ports="containerPort: 8080"),
    service("web", "web", "{port: 80, targetPort: 8080, nodePort: 30080}", "type: NodePort, "),
    service("far", "far", "{port: 80, targetPort: 8080, nodePort: 30082}", "type: NodePort, "),
    ingress("shop", "shop.test", {"/web": ("web", 80), "/far": ("far", 80)}),
]
NODE_PORT = "http://10.0.0.11:30080/"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def wires() -> AsyncIterator[Lab]:
    """A lab in which the objects are well, for breaking and mending its network."""
    async with Lab.from_text(*WIRES) as lab:
        yield lab


async def address_of(lab: Lab, app: str) -> str:
    [found] = await pods(lab, app=app)
    return str(found["status"]["podIP"])


# routes


async def test_no_route_at_the_sender(wires: Lab) -> None:
    async with kept(wires, "client"):
        await ip(wires, "client", "route", "del", "default")
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason, found.object) == ("client", "no-route", "client")
        assert "client has no route to 10.0.0.11:30080: Network is unreachable" in found.text
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_no_route_at_a_pod_that_asks_for_a_name(wires: Lab) -> None:
    async with kept(wires, "pod/far"):
        await ip(wires, "pod/far", "route", "del", "default")
        found = await stops(wires, "http://web/", source="pod/far")
        assert (found.place, found.reason, found.object) == ("default.far", "no-route", "pod default/far")
        assert "web was not resolved: no answer from 10.96.0.10 (Network is unreachable)" in found.text
        await mend(wires, found.remedy)
        await works(wires, "http://web/", "pod/far")


async def test_no_route_back(wires: Lab) -> None:
    """The SYN arrives and can't be answered."""
    async with kept(wires, "pod/web"):
        await ip(wires, "pod/web", "route", "del", "default")
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason, found.object) == ("default.web", "no-route", "pod default/web")
        assert "came to pod default/web, which has no route back to" in found.text
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_no_route_at_the_router(wires: Lab) -> None:
    """For an address that nobody has; and routes that forbid what others would allow."""
    async with kept(wires, "router"):
        found = await stops(wires, "http://192.0.2.1/")
        assert (found.place, found.reason, found.object) == ("router", "no-route", "router")
        assert found.text == "router has no route to 192.0.2.1: nobody in the lab has that address"
        found.kernel("IP_INNOROUTES")
        assert found.drops() == ["router"]  # an ICMP error proves it to who may not watch the kernel
        for kind in ("unreachable", "blackhole", "prohibit"):
            await ip(wires, "router", "route", "add", kind, "10.0.0.11")
            found = await stops(wires, NODE_PORT)
            assert (found.place, found.reason) == ("router", "no-route"), found
            assert f"router has a route that says `{kind}` to 10.0.0.11" in found.text
            assert "ip route show match 10.0.0.11" in found.remedy
            shown = await output(wires, "router", "ip", "route", "show", "match", "10.0.0.11")
            assert f"{kind} 10.0.0.11" in shown
            await ip(wires, "router", "route", "del", kind, "10.0.0.11")
        await works(wires, NODE_PORT)


async def test_a_node_without_its_route_to_anothers_pods(wires: Lab) -> None:
    """The packet goes astray by the default route; that the router refuses it isn't the router's fault."""
    async with kept(wires, "node1"):
        far = await address_of(wires, "far")
        network = f"{far.rpartition('.')[0]}.0/24"
        await ip(wires, "node1", "route", "del", network)
        for source in ("node1", "pod/web"):
            found = await stops(wires, f"http://{far}:8080/", source=source)
            assert (found.place, found.reason) == ("router", "no-route")
            assert (
                "node1 had sent the packet there by its default route (`default via 10.0.0.1 dev eth0`)"
                in found.text
            )
            assert "as it has no route to pod default/far on node2" in found.text
            assert found.remedy.startswith(
                f"give it back its route: emulab exec node1 -- ip route replace {network}"
            )
            found.kernel("IP_INNOROUTES")
        await mend(wires, found.remedy)
        await works(wires, f"http://{far}:8080/", "pod/web")


async def test_a_pod_address_that_no_pod_has(wires: Lab) -> None:
    found = await stops(wires, "http://10.244.2.222/", source="pod/web")
    assert (found.place, found.reason) == ("router", "no-route")
    assert "as no pod has it; it is one of the addresses of node2's pods" in found.text
    assert "emulab get pods" in found.remedy


async def test_a_loop(wires: Lab) -> None:
    async with kept(wires, "router"):
        await ip(wires, "router", "route", "add", "192.0.2.0/24", "via", "10.0.0.11")
        for url in ("192.0.2.1:80", "192.0.2.1:53/udp"):
            found = await stops(wires, url)
            assert (found.reason, found.object) == ("loop", "router → node1"), found
            assert found.place in ("router", "node1") and "TTL exceeded" in found.text
            assert "router sends it by `192.0.2.0/24 via 10.0.0.11 dev vpc`" in found.text
            assert "node1 sends it by `default via 10.0.0.1 dev eth0`" in found.text
            found.kernel("IP_INHDR")
        await mend(wires, found.remedy)
        assert (await stops(wires, "192.0.2.1:80")).reason == "no-route"


# neighbours and links


async def test_nobody_answers_arp(wires: Lab) -> None:
    """At the sender and at the router; also when the kernel gives up first (EHOSTUNREACH)."""
    asked = [
        ("198.51.100.98", "0.5s", "client", "eth0"),
        ("198.51.100.99", "5s", "client", "eth0"),
        ("10.0.0.98", "0.5s", "router", "vpc"),
        ("10.0.0.99", "5s", "router", "vpc"),
    ]
    traces = await asyncio.gather(*(stops(wires, f"{a}:80", timeout=timeout) for a, timeout, *_ in asked))
    for (address, timeout, place, link), found in zip(asked, traces, strict=True):
        assert (found.place, found.reason, found.object) == (place, "arp", address), found
        says = f"{place} asked by ARP on {link} for {address}, and nobody answered"
        assert found.text == f"{says}: nobody in the lab has that address"
        if timeout == "5s":
            found.kernel("NEIGH_FAILED")


async def test_a_dead_node(wires: Lab) -> None:
    """For a pod on it, through the ingress, for its node port, for names its DNS pod was asked for."""
    async with kept(wires, "node2"):
        far = await address_of(wires, "far")
        await ip(wires, "node2", "link", "set", "eth0", "down")
        seen = {}
        for source, url, place in (
            ("pod/web", f"http://{far}:8080/", "node1"),
            ("client", "http://10.0.0.12:30082/", "router"),
        ):
            found = seen[place] = await stops(wires, url, source=source)
            assert (found.place, found.reason, found.object) == (
                place,
                "dead-node",
                "node node2 (10.0.0.12)",
            ), found
            assert "eth0 of node2 is down" in found.text
        assert (
            "left node1 on eth0 inside VXLAN and never came to node node2 (10.0.0.12)" in seen["node1"].text
        )
        # Whether the router still knew node2's MAC address is up to its neighbour table.
        asked = "router asked by ARP on vpc for node node2 (10.0.0.12), and nobody answered: "
        sent = "left router on vpc and never came to node node2 (10.0.0.12): "
        assert asked in seen["router"].text or sent in seen["router"].text

        async def unresolved() -> Failure | None:
            failure = (await wires.trace("http://shop.test/web", source="pod/web", timeout=1)).failure
            return failure if failure and failure.text.startswith("shop.test was not resolved: ") else None

        named = await eventually(unresolved, 60)  # every other question goes to the DNS pod that is cut off
        assert named is not None and named.reason == "dead-node"
        assert "eth0 of node2 is down" in named.text
        assert {named.remedy, *(found.remedy for found in seen.values())} == {named.remedy}
        await mend(wires, named.remedy)
        await works(wires, f"http://{far}:8080/", "pod/web")
        await works(wires, "http://10.0.0.12:30082/")


async def test_a_pod_whose_link_is_down(wires: Lab) -> None:
    """From it, to it from its node, from another one and through the ingress: the same link, and one mend."""
    async with kept(wires, "pod/web"):
        web = await address_of(wires, "web")
        await ip(wires, "pod/web", "link", "set", "eth0", "down")
        asked = [
            ("pod/web", "http://far/", "default.web"),
            ("node1", f"{web}:8080", "node1"),
            ("node1", f"{await cluster_ip(wires, 'web')}:80", "node1"),
            ("pod/far", f"{web}:8080", "node1"),
            ("client", "http://shop.test/web", "node1"),
        ]
        for source, url, place in asked:
            found = await stops(wires, url, source=source, timeout="2s" if "shop" in url else "0.5s")
            assert (found.place, found.reason) == (place, "link-down"), found
            assert "eth0 of pod default/web is down" in found.text
            assert "pod default/web" in found.object
            assert found.remedy.startswith("emulab exec -n default pod/web -- sh -c 'ip link set eth0 up && ")
        await mend(wires, found.remedy)
        for source, url, _ in asked:
            await works(wires, url, source)


# rules


@pytest.mark.parametrize(
    ("place", "hook", "text", "packet"),
    [
        ("pod/web", "input", "tcp dport 8080 drop", "the packet"),
        ("pod/web", "input", "tcp dport 8080 reject with tcp reset", "the packet"),
        ("pod/web", "output", "tcp sport 8080 drop", "the answer"),
        ("node1", "forward", 'tcp dport 8080 drop comment "oops"', "the packet"),
        ("node1", "forward", "tcp sport 8080 drop", "the answer"),
        ("router", "forward", "tcp dport 30080 drop", "the packet"),
        ("router", "forward", "tcp dport 30080 reject with icmp admin-prohibited", "the packet"),
        ("router", "forward", "tcp dport 30080 reject with tcp reset", "the packet"),
        ("client", "output", "tcp dport 30080 drop", "the packet"),
        ("client", "output", "tcp dport 30080 reject", "the packet"),
        ("client", "input", "tcp sport 30080 drop", "the answer"),
    ],
)
async def test_a_rule_of_the_users_own(wires: Lab, place: str, hook: str, text: str, packet: str) -> None:
    """The very rule is told, wherever it is and whichever way it stops the packet; the mend deletes it."""
    where = place.replace("pod/", "default.")
    named = place.replace("pod/", "pod default/")
    async with rule(wires, place, hook, text):
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason) == (where, "rule"), found
        done = "rejected" if "reject" in text else "dropped"
        assert f"the rule `{text}` in chain c of table ip fence in {named} {done} {packet} from" in found.text
        assert where in found.drops(), found.hops
        assert found.kernel_reason in ((None, "NETFILTER_DROP") if KERNEL_TELLS else (None,))
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_a_policy_of_the_users_own(wires: Lab) -> None:
    async with rule(wires, "node1", "forward", "policy drop"):
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason) == ("node1", "rule")
        assert found.text.startswith(
            "the policy of chain c of table ip fence in node1 dropped the packet from client"
        )
        assert "(pod default/web)" in found.text and found.drops() == ["node1"]
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_a_rule_behind_the_ingress(wires: Lab) -> None:
    """It stops the ingress' own connection, over a new one or one that was open."""
    async with rule(wires, "pod/web", "input", "tcp dport 8080 drop"):
        found = await stops(wires, "http://shop.test/web", timeout="2s")  # two proxies are in between
        assert (found.place, found.reason) == ("default.web", "rule"), found
        assert "the rule `tcp dport 8080 drop`" in found.text
        await mend(wires, found.remedy)
        await works(wires, "http://shop.test/web")


# sizes

BIG = "X-Big: " + "x" * 3000


async def test_a_link_that_is_too_narrow_is_healed_by_icmp(wires: Lab) -> None:
    async with kept(wires, "router"):
        await ip(wires, "router", "link", "set", "vpc", "mtu", "1000")
        path = await wires.trace(NODE_PORT, headers={"X-Big": "x" * 3000})
        assert (path.status, path.failure) == (200, None)
        assert any("ICMP fragmentation needed, next MTU 1000" in hop.detail for hop in path.hops)
        [note] = path.notes
        assert "too big for the next link of router, which takes 1000 bytes; it was sent again" in note
    await ip(wires, "client", "route", "flush", "cache")


@pytest.mark.parametrize(
    ("place", "hook", "says"),
    [
        ("router", "output", "no ICMP message about it was seen on any link"),
        ("client", "input", "router told client so"),
    ],
)
async def test_a_link_that_is_too_narrow_without_icmp(wires: Lab, place: str, hook: str, says: str) -> None:
    """A black hole: small requests go through, large ones don't."""
    async with kept(wires, "router"):
        await ip(wires, "router", "link", "set", "vpc", "mtu", "1000")
        async with rule(wires, place, hook, "icmp type destination-unreachable drop"):
            await works(wires, NODE_PORT)
            found = await stops(wires, NODE_PORT, "-H", BIG)
            assert (found.place, found.reason, found.object) == ("router", "mtu", "vpc of router")
            assert "must not be fragmented" in found.text and "which takes 1000" in found.text
            assert says in found.text
            assert "1500 bytes" in found.text or "1450 bytes" in found.text
            found.kernel("PKT_TOO_BIG")
            assert found.remedy.endswith("emulab exec router -- ip link set vpc mtu 1500")
            await mend(wires, found.remedy)
            await works(wires, NODE_PORT, headers={"X-Big": "x" * 3000})
    await ip(wires, "client", "route", "flush", "cache")


# name servers


async def test_a_name_server_that_is_kept_from_answering(wires: Lab) -> None:
    async with rule(wires, "resolver", "input", "udp dport 53 drop"):
        found = await stops(wires, "http://shop.test/web")
        assert (found.place, found.reason) == ("resolver", "rule"), found
        assert found.text.startswith("shop.test was not resolved: the rule `udp dport 53 drop`")
        await mend(wires, found.remedy)
        await works(wires, "http://shop.test/web")


async def test_a_name_server_that_asks_in_vain(wires: Lab) -> None:
    """SERVFAIL is the resolver's word; why it says so is seen behind it."""
    # Without its neighbour's address the resolver would send no question that could be seen.
    assert (await fails(wires, "http://before.test/")).reason == "nxdomain"
    async with kept(wires, "dns"):
        await ip(wires, "dns", "link", "set", "eth0", "down")
        found = await fails(wires, "http://fresh.test/")
        assert found.reason == "link-down", found
        assert found.text.startswith("fresh.test was not resolved: resolver answered SERVFAIL, because ")
        assert "eth0 of dns is down" in found.text
        await mend(wires, found.remedy)
        assert (await fails(wires, "http://other.test/")).reason == "nxdomain"
