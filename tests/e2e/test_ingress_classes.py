"""Ingresses of classes that nobody serves, and how the lab's ingress takes them over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import pod, service
from .tools import VIP, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ingress(name: str, spec: str = "", annotation: str = "") -> str:
    backend = "{service: {name: web, port: {number: 80}}}"
    metadata = f"{{name: {name}, annotations: {{{annotation}}}}}" if annotation else f"{{name: {name}}}"
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {metadata}
spec: {{{spec} rules: [{{host: {name}.test, http: {{paths: [{{path: /, pathType: Prefix, backend: {backend}}}]}}}}]}}
---"""


CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: classes}
spec: {ingress: {engine: ENGINE, classes: [CLASSES]}}
---"""
WORLD = (
    CLUSTER.replace("CLASSES", "")
    + pod("web", "node1")
    + service("web", "{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}")
    + ingress("alb", "ingressClassName: alb,")
    + ingress("old", annotation="kubernetes.io/ingress.class: traefik")
    + ingress("own", "ingressClassName: nginx,")
)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD.replace("ENGINE", request.param)) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


async def addresses(lab: Lab) -> dict[str, list[str]]:
    found = await lab.get("Ingress", namespace="default")
    return {
        o["metadata"]["name"]: [
            e["ip"] for e in (o.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
        ]
        for o in found
    }


async def test_an_ingress_of_nobodys_class_has_no_address_and_a_trace_says_why(lab: Lab) -> None:
    assert await addresses(lab) == {"alb": [], "old": [], "own": [VIP]}
    for name, its_class in (("alb", "alb"), ("old", "traefik")):
        path = await lab.trace(f"http://{name}.test/")
        assert path.status == 404 and path.failure is not None
        assert (path.failure.reason, path.failure.object) == ("no-ingress-class", f"Ingress default/{name}")
        assert f"but there is no IngressClass {its_class}, its class" in path.failure.text
        assert f"spec.ingress.classes: [{its_class}]" in path.failure.remedy
    assert (await lab.request("http://own.test/")).status == 200


async def test_a_cluster_has_the_labs_ingress_take_classes_over(lab: Lab) -> None:
    for classes, served in (("alb", {"alb"}), ('"*"', {"alb", "old"}), ("", set())):
        await lab.apply(CLUSTER.replace("CLASSES", classes).replace("ENGINE", lab.engine))
        expected = {name: [VIP] if name in {*served, "own"} else [] for name in ("alb", "old", "own")}
        assert await addresses(lab) == expected
        for name in ("alb", "old"):

            async def answered(name: str = name, status: int = 200 if name in served else 404) -> bool:
                return (await lab.request(f"http://{name}.test/")).status == status

            await eventually(answered)
