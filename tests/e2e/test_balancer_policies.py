"""What balancers are told beside whom they lead to: PROXY headers, checks, limits, who may in; what they tell of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .balancer_differences import ENGINES, balanced_by, expected
from .tools import CLIENT, connect, emulab, eventually, node_port, output, program, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

HAPROXY = """
global
  log stderr local0
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 1s
frontend headers
  bind :8081 accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port]"
"""

WORLD = f"""
apiVersion: emulab.dev/v1
kind: Client
metadata: {{name: office}}
spec: {{network: vpc}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: haproxy}}
data: {{haproxy.cfg: {json.dumps(HAPROXY)}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: reader, labels: {{app: reader}}}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{name: cfg, configMap: {{name: haproxy}}}}]
  containers:
    - name: haproxy
      command: [haproxy, -f, /cfg/haproxy.cfg]
      ports: [{{containerPort: 8081}}]
      volumeMounts: [{{name: cfg, mountPath: /cfg}}]
      readinessProbe: {{tcpSocket: {{port: 8081}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata:
  name: second
  annotations: {{service.beta.kubernetes.io/aws-load-balancer-proxy-protocol: "*"}}
spec: {{type: LoadBalancer, selector: {{app: reader}}, ports: [{{port: 80, targetPort: 8081}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: first, annotations: {{balancer.emulab.dev/proxyProtocol: v1}}}}
spec: {{type: LoadBalancer, selector: {{app: reader}}, ports: [{{port: 80, targetPort: 8081}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: c, image: example/web, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata:
  name: checked
  annotations:
    alb.ingress.kubernetes.io/healthcheck-path: /status/503
    alb.ingress.kubernetes.io/success-codes: 500-503
    alb.ingress.kubernetes.io/healthcheck-interval-seconds: "1"
spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata:
  name: sick
  annotations:
    alb.ingress.kubernetes.io/healthcheck-path: /status/500
    alb.ingress.kubernetes.io/unhealthy-threshold-count: "1"
spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata:
  name: open
  annotations:
    balancer.emulab.dev/healthCheck: path=/status/500,fall=1
    balancer.emulab.dev/failOpen: "true"
spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: few, annotations: {{balancer.emulab.dev/limits: connections=2}}}}
spec: {{type: LoadBalancer, selector: {{app: mirror}}, ports: [{{port: 9100}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: mirror, labels: {{app: mirror}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: mirror
      command: {program("mirror.py", "9100")}
      ports: [{{containerPort: 9100}}]
      readinessProbe: {{tcpSocket: {{port: 9100}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: silent}}
spec:
  network: internet
  address: 203.0.113.50
  ports: [80]
  sourceRanges: [10.0.0.0/24]
  deny: drop
  target: {{service: {{name: web, port: 80}}}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: weighted}}
spec:
  network: internet
  address: 203.0.113.51
  ports: [80]
  weights: {{node1: 3, node2: 1}}
  target: {{service: {{name: web, port: 80}}}}
"""


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(engine: str) -> AsyncIterator[Lab]:
    async with Lab.from_text(balanced_by(engine) + WORLD) as lab:
        yield lab


async def address(lab: Lab, service: str) -> str:
    [found] = await lab.get("Service", service, "default")
    return str(found["status"]["loadBalancer"]["ingress"][0]["ip"])


async def frontend(lab: Lab, place: str) -> dict[str, Any]:
    [found] = (await lab.server_status(place))["frontends"].values()
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("service", ["first", "second"])
async def test_a_real_haproxy_reads_the_clients_address_in_a_proxy_header(lab: Lab, service: str) -> None:
    vip = await address(lab, service)
    for source, own in (("client", CLIENT), ("office", "10.0.0.200")):
        answer = await lab.request(f"http://{vip}/", source=source, timeout=20)
        assert answer.text() == f"{own} {vip} 80"


async def test_with_a_header_nodes_leave_the_address_to_the_balancer(lab: Lab) -> None:
    """ipMode Proxy (KEP-1860): a pod's request goes by the balancer, too, or the backend would see no header."""
    [found] = await lab.get("Service", "second", "default")
    assert [e["ipMode"] for e in found["status"]["loadBalancer"]["ingress"]] == ["Proxy"]
    vip = await address(lab, "second")
    answer = await lab.request(f"http://{vip}/", source="pod/mirror", timeout=20)
    assert re.fullmatch(rf"10\.\S+ {re.escape(vip)} 80", answer.text()), answer.text()


async def test_trace_says_that_a_header_is_sent(lab: Lab) -> None:
    path = await lab.trace(f"http://{await address(lab, 'second')}/")
    said = [
        hop.detail for hop in path.hops if hop.event == "proxy-connect" and hop.place == "lb-default-second"
    ]
    assert len(said) == 1 and "PROXY protocol v2" in said[0]


async def test_checks_are_those_of_the_annotations(lab: Lab) -> None:
    """AWS' words on a Service: a path, and which statuses are in order; two balancers judge one backend differently."""

    async def judged() -> bool:
        well, sick = await frontend(lab, "lb-default-checked"), await frontend(lab, "lb-default-sick")
        return all(t["healthy"] and t["check"]["word"] == "L7OK" for t in well["targets"].values()) and all(
            not t["healthy"] and t["check"]["detail"] == "500" for t in sick["targets"].values()
        )

    await eventually(judged)
    assert (await lab.request(f"http://{await address(lab, 'checked')}/", timeout=20)).status == 200
    vip = await address(lab, "sick")
    with pytest.raises(ConnectionError):
        await lab.request(f"http://{vip}/", timeout=20)


async def test_failing_open_uses_all_where_none_is_healthy(lab: Lab) -> None:
    async def sick() -> bool:
        return not any(t["healthy"] for t in (await frontend(lab, "lb-default-open"))["targets"].values())

    await eventually(sick)
    vip = await address(lab, "open")
    for _ in range(4):
        assert (await lab.request(f"http://{vip}/", timeout=20)).status == 200
    used = (await frontend(lab, "lb-default-open"))["targets"].values()
    assert [t["total"] for t in used] == [2, 2]


async def test_what_is_above_a_limit_is_reset_until_there_is_room(lab: Lab) -> None:
    vip = await address(lab, "few")
    held = [await connect(lab, "client", vip, 9100) for _ in range(2)]
    for reader, writer in held:
        writer.write(b"ping")
        assert await asyncio.wait_for(reader.readexactly(4), 20) == b"ping"
    with pytest.raises(
        ConnectionResetError
    ):  # its SYN is taken; the reset may be there before it is looked at
        reader, _ = await connect(lab, "client", vip, 9100)
        await asyncio.wait_for(reader.read(1), 20)
    for _, writer in held:
        writer.close()

    async def room() -> bool:
        return bool((await frontend(lab, "lb-default-few"))["open"] == 0)

    await eventually(room)
    reader, writer = await connect(lab, "client", vip, 9100)
    writer.write(b"again")
    assert await asyncio.wait_for(reader.readexactly(5), 20) == b"again"
    writer.close()


async def test_deny_drop_hears_nothing(lab: Lab) -> None:
    """No SYN is answered, where a proxy could only reset what its kernel has taken."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await connect(lab, "client", "203.0.113.50", 80)
    assert (await lab.request("http://203.0.113.50/", source="office", timeout=20)).status == 200


async def test_weights_are_shares(lab: Lab) -> None:
    before = (await frontend(lab, "weighted"))["targets"]
    for _ in range(8):
        assert (await lab.request("http://203.0.113.51/", timeout=20)).status == 200
    after = (await frontend(lab, "weighted"))["targets"]
    assert [after[n]["total"] - before[n]["total"] for n in ("node1", "node2")] == [6, 2]


async def test_a_drained_backend_gets_nothing_new_and_its_connections_end_in_time(
    lab: Lab, engine: str
) -> None:
    """Weight 0, and a node that is excluded by the label."""
    manifest = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: draining}
spec: {network: internet, address: 203.0.113.52, ports: [9100], draining: 1, %s
  target: {service: {name: few, port: 9100}}}
"""
    await lab.apply(manifest % "weights: {node1: 1, node2: 0},")
    reader, writer = await connect(lab, "client", "203.0.113.52", 9100)
    writer.write(b"ping")
    assert await asyncio.wait_for(reader.readexactly(4), 20) == b"ping"
    targets = (await frontend(lab, "draining"))["targets"]
    assert [targets[n]["open"] for n in ("node1", "node2")] == [1, 0]
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    await labelled(lab, engine, "node1", {label: ""})
    assert list((await frontend(lab, "draining"))["targets"]) == ["node2"]
    assert await ending(reader) == expected(engine, "how a drained connection ends", "reset")
    await labelled(lab, engine, "node1", {})
    assert list((await frontend(lab, "draining"))["targets"]) == ["node1", "node2"]


async def ending(reader: asyncio.StreamReader) -> str:
    """How a connection ends on which nothing more comes."""
    try:
        assert await asyncio.wait_for(reader.read(1), 20) == b""
    except ConnectionResetError:
        return "reset"
    return "closed"


async def labelled(lab: Lab, engine: str, node: str, labels: dict[str, str]) -> None:
    """Gives a node labels by the Cluster, of which there are two nodes."""
    nodes = [{"name": name, "labels": labels if name == node else {}} for name in ("node1", "node2")]
    await lab.apply(balanced_by(engine, nodes=nodes))


async def test_a_balancer_tells_of_itself(lab: Lab, engine: str) -> None:
    """describe, Events, numbers by HAProxy's names, and a line a connection as HAProxy's tcplog."""
    assert (await lab.request("http://203.0.113.51/", timeout=20)).status == 200
    text = (await emulab("-l", lab.name, "describe", "loadbalancer", "weighted")).text
    assert re.search(r"node1\s+10\.0\.0\.11:\d+\s+3\s+healthy\s+L4OK in [\d.]+ms\s+\d+\s+\d+\s+0", text), text
    [found] = await lab.get("LoadBalancer", "weighted", "")
    page = ""
    name = expected(engine, "word for a frontend in numbers and logs", "tcp/203.0.113.51/80")
    word = re.escape(name)
    counted = rf'^haproxy_server_sessions_total\{{proxy="{word}",server="node1"\}} [1-9]'

    async def is_counted() -> bool:
        """A process that has just taken over counts from nothing, and its predecessor may have had the request."""
        nonlocal page
        assert (await lab.request("http://203.0.113.51/", timeout=20)).status == 200
        url = f"http://{found['status']['address']}:8404/metrics"
        page = await output(lab, "weighted", "curl", "-sS", url)
        return bool(re.search(counted, page, re.M))

    await eventually(is_counted)
    assert f'haproxy_server_status{{proxy="{name}",server="node1",state="UP"}} 1' in page
    line = rf"^{re.escape(CLIENT)}:\d+ \[\S+\] {word} {word}/node\d \d/\d+/\d+ \d+ -- "

    async def logged() -> bool:
        return bool(re.search(line, (await emulab("-l", lab.name, "logs", "weighted")).text, re.M))

    await eventually(logged)
    events = [e for e in await lab.get("Event") if e["involvedObject"]["name"] == "sick"]
    assert {"EnsuringLoadBalancer", "EnsuredLoadBalancer", "BackendUnhealthy"} <= {
        e["reason"] for e in events
    }


TAKEN = """
apiVersion: v1
kind: Service
metadata: {name: %s, annotations: {%s}}
spec:
  type: LoadBalancer
  loadBalancerIP: 203.0.113.60
  selector: {app: web}
  ports: [{port: %d, targetPort: 8080}]
"""


async def test_a_taken_address_is_waited_for_or_shared(lab: Lab) -> None:
    shared = "metallb.io/allow-shared-ip: us"
    await lab.apply(TAKEN % ("holder", shared, 80))
    await lab.apply(TAKEN % ("waits", "", 81), ready=False)
    [waits] = await lab.get("Service", "waits", "default")
    assert "loadBalancer" not in waits.get("status", {})

    async def told() -> bool:
        events = [e for e in await lab.get("Event") if e["involvedObject"]["name"] == "waits"]
        return any(
            e["reason"] == "SyncLoadBalancerFailed"
            and "203.0.113.60 is in use by Service/default/holder" in e["message"]
            for e in events
        )

    await eventually(told)
    await lab.apply(TAKEN % ("waits", shared, 81))
    for port in (80, 81):
        assert (await lab.request(f"http://203.0.113.60:{port}/", timeout=20)).status == 200
    await lab.apply(TAKEN % ("late", "", 82), ready=False)
    await lab.delete("Service", "holder")
    assert (await lab.request("http://203.0.113.60:81/", timeout=20)).status == 200
    await lab.delete("Service", "waits")

    async def freed() -> bool:
        [late] = await lab.get("Service", "late", "default")
        return bool(late["status"].get("loadBalancer", {}).get("ingress"))

    await eventually(freed)
    assert (await lab.request("http://203.0.113.60:82/", timeout=20)).status == 200


async def test_a_class_that_nobody_serves_is_pending(lab: Lab) -> None:
    text = (TAKEN % ("classy", "", 80)).replace(
        "loadBalancerIP: 203.0.113.60", "loadBalancerClass: acme.io/fast"
    )
    await lab.apply(text, ready=False)
    [found] = await lab.get("Service", "classy", "default")
    assert "loadBalancer" not in found.get("status", {})
    done = await emulab("-l", lab.name, "get", "service", "classy")
    assert "<pending>" in done.text


async def test_an_isolated_vpc_is_reached_by_balancers_alone(lab: Lab, engine: str) -> None:
    port = await node_port(lab, "web")
    assert (await lab.request(f"http://10.0.0.11:{port}/", timeout=20)).status == 200
    await lab.apply(balanced_by(engine, network={"isolated": True}))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await connect(lab, "client", "10.0.0.11", port)
    assert (await lab.request(f"http://10.0.0.11:{port}/", source="office", timeout=20)).status == 200
    assert (await lab.request("http://203.0.113.51/", timeout=20)).status == 200
    # What the vpc begins itself is answered, and who sent nothing wrong is refused by the balancer as ever.
    await refused(lab, "client", "203.0.113.51", 81)
    path = await lab.trace(f"http://10.0.0.11:{port}/", timeout=3)
    assert path.failure is not None and "spec.network.isolated of Cluster" in path.failure.text
