"""The ingress as Prometheus sees it: Debian's program in a pod scrapes the controller and evaluates a rule."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from emulab import Lab

from .engine_differences import served_by
from .tools import VIP, emulab, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web:1, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec:
  ingressClassName: nginx
  rules:
    - host: shop.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
    - host: api.test
      http: {paths: [{path: /v1, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}
data:
  log-format-upstream: '{"host": "$host", "status": $status, "tries": "$upstream_status", "id": "$req_id"}'
  log-format-escape-json: "true"
---
apiVersion: v1
kind: Service
metadata: {name: controller-metrics, namespace: ingress-nginx}
spec:
  selector: {app.kubernetes.io/name: ingress-nginx}
  ports: [{name: metrics, port: 10254, targetPort: 10254}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus}
data:
  prometheus.yml: |
    global: {scrape_interval: 1s, evaluation_interval: 1s}
    rule_files: [/etc/watch/rules.yml]
    scrape_configs:
      - job_name: ingress
        static_configs: [{targets: ["controller-metrics.ingress-nginx.svc.cluster.local:10254"]}]
  rules.yml: |
    groups:
      - name: ingress
        rules:
          - record: cluster:ingress:requests_per_second
            expr: sum(rate(nginx_ingress_controller_requests[1m])) by (host)
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus, labels: {app: prometheus}}
spec:
  containers:
    - name: prometheus
      command: [prometheus, --config.file=/etc/watch/prometheus.yml, --storage.tsdb.path=/data, --log.level=error]
      volumeMounts: [{name: conf, mountPath: /etc/watch}, {name: data, mountPath: /data}]
      readinessProbe: {httpGet: {path: /-/ready, port: 9090}, periodSeconds: 1}
  volumes: [{name: conf, configMap: {name: prometheus}}, {name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: prometheus}
spec: {selector: {app: prometheus}, ports: [{port: 9090}]}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(served_by(request.param), WORLD) as made:
        yield made


async def asked(lab: Lab, host: str, path: str = "/") -> str:
    return await output(
        lab,
        "client",
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        f"Host: {host}",
        f"{VIP}{path}",
    )


async def samples(lab: Lab, family: str) -> dict[str, float]:
    """What the controller's page has of a family, by its labels."""
    page = await output(lab, "prometheus", "curl", "-s", "controller-metrics.ingress-nginx:10254/metrics")
    found = re.findall(rf"^nginx_ingress_controller_{family}\{{(.*)\}} (\S+)$", page, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


async def evaluated(lab: Lab, query: str) -> dict[str, float]:
    """The values of a query by the host that they are for."""
    url = f"http://prometheus:9090/api/v1/query?query={quote(query)}"
    told: dict[str, Any] = json.loads(await output(lab, "prometheus", "curl", "-s", url))
    assert told["status"] == "success", told
    return {one["metric"].get("host", ""): float(one["value"][1]) for one in told["data"]["result"]}


async def test_a_recording_rule_over_requests_gives_their_rate_by_host(lab: Lab) -> None:
    """`cluster:ingress:requests_per_second`, as the rule of a monitoring set-up writes it."""

    async def rated() -> bool:
        for _ in range(3):
            assert await asked(lab, "shop.test") == "200"
        assert await asked(lab, "api.test", "/v1") == "200"
        found = await evaluated(lab, "cluster:ingress:requests_per_second")
        return found.keys() == {"shop.test", "api.test"} and found["shop.test"] > 1.5 * found["api.test"] > 0

    await eventually(rated, pause=0.3)

    async def alike() -> bool:
        """Each request is in both, once what was asked last has been collected."""
        counted = await evaluated(lab, "sum(nginx_ingress_controller_requests) by (host)")
        timed = await evaluated(lab, "sum(nginx_ingress_controller_request_duration_seconds_count) by (host)")
        return timed == counted and counted.keys() == {"shop.test", "api.test"}

    await eventually(alike, pause=0.3)
    quantile = await evaluated(
        lab,
        "histogram_quantile(0.5, sum(rate(nginx_ingress_controller_request_duration_seconds_bucket[1m])) by (le))",
    )
    assert 0 < quantile[""] < 5
    assert await evaluated(lab, "nginx_ingress_controller_config_last_reload_successful") == {"": 1.0}
    assert (await evaluated(lab, "up"))[""] == 1.0


async def test_requests_are_counted_by_ingress_service_path_and_status(lab: Lab) -> None:
    labels = 'canary="",controller_class="k8s.io/ingress-nginx",controller_namespace="ingress-nginx",'
    key = 'host="api.test",ingress="front",method="GET",namespace="default",path="/v1",service="web",status="200"'

    async def count() -> float:
        found = await samples(lab, "requests")
        return sum(value for name, value in found.items() if name.startswith(labels) and name.endswith(key))

    before = await count()
    for _ in range(4):
        assert await asked(lab, "api.test", "/v1") == "200"

    async def counted() -> bool:
        return await count() == before + 4

    await eventually(counted)  # a program tells of a request once it is over
    assert await asked(lab, "stranger.test") == "404"
    assert not [name for name in await samples(lab, "requests") if "stranger" in name]


async def test_the_format_of_the_log_is_followed(lab: Lab) -> None:
    assert await asked(lab, "shop.test", "/logged") == "200"

    async def logged() -> list[dict[str, Any]]:
        done = await emulab(
            "logs", "-l", lab.name, "-n", "ingress-nginx", "deploy/ingress-nginx-controller", "--tail=-1"
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]

    lines = await eventually(logged)
    assert {"shop.test"} <= {line["host"] for line in lines}
    assert all(re.fullmatch("[0-9a-f]{32}", line["id"]) for line in lines)
