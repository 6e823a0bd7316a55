"""A user's own ingress-nginx, in the shape of its static deploys, in the place of the lab's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import pod, service
from .tools import NODE1, NODE2, VIP, emulab, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

APP = pod("web", "node2") + service("web", "{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}")
RULES = "rules: [{host: NAME.test, http: {paths: [{path: /, pathType: Prefix, backend: BACKEND}]}}]"


def ingress(name: str, more: str = "ingressClassName: nginx, ") -> str:
    rules = RULES.replace("NAME", name).replace("BACKEND", "{service: {name: web, port: {number: 80}}}")
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec: {{{more}{rules}}}
---"""


CONTROLLER = """
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, namespace: NAMESPACE}
data: {proxy-body-size: "10"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: tcp, namespace: NAMESPACE}
data: {"9000": "default/web:80"}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: apps/v1
kind: KIND
metadata: {name: ingress-nginx-controller, namespace: NAMESPACE, labels: {app: own}}
spec:
  selector: {matchLabels: {app: own}}
  template:
    metadata: {labels: {app: own}}
    spec:
      terminationGracePeriodSeconds: 1
      NETWORK
      containers:
        - name: controller
          image: registry.k8s.io/ingress-nginx/controller:v1.15.1@sha256:594ceea76b01c592858f803f
          args: [/nginx-ingress-controller, --election-id=leader, --configmap=$(POD_NAMESPACE)/conf, FLAGS]
          env: [{name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]
          ports:
            - {name: http, containerPort: 80}
            - {name: https, containerPort: 443}
            - {name: webhook, containerPort: 8443}
          lifecycle: {preStop: {exec: {command: [/wait-shutdown]}}}
          livenessProbe: {httpGet: {path: /healthz, port: 10254}, initialDelaySeconds: 10}
          readinessProbe: {httpGet: {path: /healthz, port: 10254}, initialDelaySeconds: 10}
---"""
FRONT = """
apiVersion: v1
kind: Service
metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: own}
  ports: [{name: http, port: 80, targetPort: http}, {name: https, port: 443, targetPort: https}]
---
apiVersion: v1
kind: Service
metadata: {name: admission, namespace: ingress-nginx}
spec: {selector: {app: own}, ports: [{name: webhook, port: 443, targetPort: webhook}]}
---"""


def controller(
    *flags: str, kind: str = "Deployment", namespace: str = "ingress-nginx", network: str = ""
) -> str:
    text = CONTROLLER.replace("KIND", kind).replace("NAMESPACE", namespace, 4).replace("NETWORK", network)
    return text.replace("FLAGS", ", ".join(flags))


DEPLOYED = (
    controller(
        "--publish-service=$(POD_NAMESPACE)/ingress-nginx-controller",
        "--tcp-services-configmap=$(POD_NAMESPACE)/tcp",
        "--validating-webhook=:8443",
    )
    + FRONT
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    """A lab whose own ingress was there first, and had to make way."""
    async with Lab.from_text(APP + ingress("shop")) as made:
        assert (await made.request(f"http://{VIP}/", headers={"Host": "shop.test"})).status == 200
        told = await made.apply(DEPLOYED)
        assert not [line for line in told if "controller" in line and "isn't followed" not in line], told
        yield made


async def controllers(lab: Lab, namespace: str = "ingress-nginx") -> list[str]:
    """The names of the controller's pods that are ready and stay."""
    return [
        o["metadata"]["name"]
        for o in await lab.get("Pod", namespace=namespace)
        if o["metadata"].get("labels", {}).get("app") == "own"
        and not o["metadata"].get("deletionTimestamp")
        and any(c["type"] == "Ready" and c["status"] == "True" for c in o["status"].get("conditions") or ())
    ]


async def front(lab: Lab) -> dict[str, Any]:
    (found,) = await lab.get("Service", "ingress-nginx-controller", "ingress-nginx")
    return found


async def addresses(lab: Lab, name: str) -> list[str]:
    (found,) = await lab.get("Ingress", name, "default")
    return [e["ip"] for e in found["status"]["loadBalancer"].get("ingress") or ()]


async def answered(lab: Lab, url: str, **how: Any) -> bool:
    return (await lab.request(url, **how)).status == 200


async def test_it_takes_the_place_of_the_labs_own(lab: Lab) -> None:
    async def alone() -> bool:
        pods = [o["metadata"]["name"] for o in await lab.get("Pod", namespace="ingress-nginx")]
        return len(pods) == 1 and pods == await controllers(lab)

    await eventually(alone)
    (deployment,) = await lab.get("Deployment", namespace="ingress-nginx")
    assert deployment["spec"]["selector"] == {"matchLabels": {"app": "own"}}
    assert "emulab.dev/served-by" not in (await front(lab))["metadata"].get("annotations", {})


async def test_clients_come_by_its_service(lab: Lab) -> None:
    address = (await front(lab))["status"]["loadBalancer"]["ingress"][0]["ip"]
    assert address != VIP and await addresses(lab, "shop") == [address]
    await eventually(lambda: answered(lab, "http://shop.test/"))
    path = await lab.trace("http://shop.test/")
    (own,) = await controllers(lab)
    places = [hop.place for hop in path.hops]
    assert path.status == 200 and f"ingress-nginx.{own}" in places
    assert any(place.startswith("lb-ingress-nginx") for place in places) and "public-lb" not in places
    curl = await output(
        lab, "client", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://shop.test/"
    )
    assert curl == "200"

    async def logged() -> bool:
        return '"GET / HTTP/1.1" 200' in await lab.logs(f"pod/{own}", "ingress-nginx")

    await eventually(logged)


async def test_its_node_ports_and_the_public_balancer_lead_there_too(lab: Lab) -> None:
    found = await front(lab)
    ports = {p["name"]: p["nodePort"] for p in found["spec"]["ports"]}
    (own,) = await controllers(lab)
    (at,) = await lab.get("Pod", own, "ingress-nginx")
    node = {"node1": NODE1, "node2": NODE2}[at["spec"]["nodeName"]]  # the Service's traffic policy is Local
    given = {"headers": {"Host": "shop.test"}}
    for url in (f"http://{node}:{ports['http']}/", f"http://{VIP}/"):
        await eventually(lambda url=url: answered(lab, url, **given))  # type: ignore[misc]


async def test_one_that_its_liveness_probe_has_ended_serves_nobody(lab: Lab) -> None:
    probe = "livenessProbe: {httpGet: {path: /nothing, port: 10254}, periodSeconds: 1, failureThreshold: 1}"
    image = "image: registry.k8s.io/ingress-nginx/controller:v1.15.1, ports: [{containerPort: 80}]"
    args = "args: [/nginx-ingress-controller, --controller-class=example.com/ill]"
    spec = f"terminationGracePeriodSeconds: 1, containers: [{{name: c, {image}, {args}, {probe}}}]"
    text = f"{{apiVersion: v1, kind: Pod, metadata: {{name: ill}}, spec: {{{spec}}}}}"
    await lab.apply(text, ready=False)

    async def backing_off() -> dict[str, Any]:
        (found,) = await lab.get("Pod", "ill", "default")
        (one,) = found["status"].get("containerStatuses") or [{}]
        waits = one.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        return found if waits and one["restartCount"] else {}

    found = await eventually(backing_off)
    asked = await lab.exec("pod/web", "curl", "-sm", "5", f"http://{found['status']['podIP']}/")
    assert asked.status == 7, "it is refused until the next life"
    await lab.delete("Pod", "ill", "default")


async def test_its_pages_and_its_config_maps(lab: Lab) -> None:
    (own,) = await controllers(lab)
    (at,) = await lab.get("Pod", own, "ingress-nginx")
    address = at["status"]["podIP"]
    asked = await lab.request(f"http://{address}:10254/healthz", source="pod/web")
    assert (asked.status, asked.text()) == (200, "ok")
    assert (await lab.request(f"http://{address}:10254/other", source="pod/web")).status == 404
    status = ("curl", "-s", "-k", "-o", "/dev/null", "-w", "%{http_code}")
    local = await output(
        lab, f"pod/{own}", "curl", "-s", "localhost:10254/healthz", namespace="ingress-nginx"
    )
    assert local == "ok", "on loopback too"
    past = await lab.request(f"http://{address}:9000/", source="pod/web")
    assert (past.status, past.json()["pod"]) == (200, "web")
    webhook = "https://admission.ingress-nginx/"
    assert await output(lab, "pod/web", *status, webhook) == "404"
    assert await output(lab, "client", *status, "-d", "more than ten octets", "http://shop.test/") == "413"


async def test_it_is_scaled_restarted_and_replaced_as_any_deployment(lab: Lab) -> None:
    await lab.scale("ingress-nginx-controller", 2, "ingress-nginx")

    async def two() -> bool:
        return len(await controllers(lab)) == 2

    await eventually(two)
    pods = await lab.get("Pod", namespace="ingress-nginx")
    assert {o["spec"]["nodeName"] for o in pods} == {"node1", "node2"}
    first = set(await controllers(lab))
    await lab.delete("Pod", min(first), "ingress-nginx")

    async def replaced() -> bool:
        there = set(await controllers(lab))
        return len(there) == 2 and there != first

    await eventually(replaced)
    again = set(await controllers(lab))
    done = await emulab(
        "rollout", "restart", "deploy/ingress-nginx-controller", "-n", "ingress-nginx", "-l", lab.name
    )
    assert done.status == 0, done.stderr

    async def rolled() -> bool:
        there = set(await controllers(lab))
        return len(there) == 2 and not there & again

    await eventually(rolled)
    await eventually(lambda: answered(lab, "http://shop.test/"))


async def test_one_on_the_nodes_networks_after_it(lab: Lab) -> None:
    """Deleted, it leaves nobody; a DaemonSet of another Namespace is where clients find its nodes."""
    for kind, name in (("Deployment", "ingress-nginx-controller"), ("Service", "ingress-nginx-controller")):
        await lab.delete(kind, name, "ingress-nginx")

    async def nobody() -> bool:
        return not await addresses(lab, "shop")

    await eventually(nobody)
    assert not await lab.get("Deployment", namespace="ingress-nginx"), "the lab's own doesn't come back"
    flags = ("--watch-ingress-without-class", "--report-node-internal-ip-address")
    await lab.apply(
        controller(*flags, kind="DaemonSet", namespace="edge", network="hostNetwork: true")
        + ingress("none", more=""),
        ready=True,
    )

    async def everywhere() -> bool:
        return sorted(await addresses(lab, "none")) == [NODE1, NODE2]

    await eventually(everywhere)
    assert await addresses(lab, "shop") == await addresses(lab, "none")
    await eventually(lambda: answered(lab, "http://none.test/"))
    for url in (f"http://{NODE1}/", f"http://{NODE2}/", f"http://{VIP}/"):
        await eventually(lambda url=url: answered(lab, url, headers={"Host": "none.test"}))  # type: ignore[misc]
    path = await lab.trace("http://none.test/")
    (taken,) = (hop for hop in path.hops if hop.event == "proxy-accept")
    assert path.status == 200 and taken.place in ("node1", "node2")
    assert taken.detail.startswith("accepted by pod edge.ingress-nginx-controller-")
    assert path.hops[-1].place == "client" and "web" in {
        hop.place.removeprefix("default.") for hop in path.hops
    }

    # And an applied Cluster brings the lab's own back.
    await lab.delete("DaemonSet", "ingress-nginx-controller", "edge")
    await lab.delete("IngressClass", "nginx", "")
    await lab.apply("{apiVersion: emulab.dev/v1, kind: Cluster, metadata: {name: again}}")

    async def back() -> bool:
        return await addresses(lab, "shop") == [VIP]

    await eventually(back)
    await eventually(lambda: answered(lab, f"http://{VIP}/", headers={"Host": "shop.test"}))
