"""Records by weight and failover, as clients get them: by `dig`, with programs that come and go. As root and anyone."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

from .crashes import User, eventually

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: blue}
spec:
  selector: {matchLabels: {app: blue}}
  template:
    metadata: {labels: {app: blue}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: "shop/web:1", ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: blue}
spec: {type: LoadBalancer, loadBalancerIP: 203.0.113.50, selector: {app: blue}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata:
  name: teal
  annotations:
    external-dns.alpha.kubernetes.io/hostname: said.test
    external-dns.alpha.kubernetes.io/ttl: "1"
    external-dns.alpha.kubernetes.io/set-identifier: here
    external-dns.alpha.kubernetes.io/aws-failover: PRIMARY
spec: {type: LoadBalancer, loadBalancerIP: 203.0.113.51, selector: {app: blue}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata:
  name: away
  annotations:
    external-dns.alpha.kubernetes.io/hostname: said.test
    external-dns.alpha.kubernetes.io/ttl: "1"
    external-dns.alpha.kubernetes.io/target: 203.0.113.60
    external-dns.alpha.kubernetes.io/set-identifier: there
    external-dns.alpha.kubernetes.io/aws-failover: SECONDARY
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: shop.test}
spec:
  records:
    - name: www
      type: A
      value: 203.0.113.50
      ttl: 0
      failover: primary
      healthCheck: {path: /healthz, interval: 0.2}
    - {name: www, type: A, value: 203.0.113.60, ttl: 0, failover: secondary}
    - {name: api, type: CNAME, value: blue.test, ttl: 0, failover: primary, healthCheck: {service: {name: blue}}}
    - {name: api, type: CNAME, value: green.test, ttl: 0, failover: secondary}
    - {name: canary, type: A, value: 203.0.113.50, ttl: 0, weight: 90}
    - {name: canary, type: A, value: 203.0.113.60, ttl: 0, weight: 10}
"""


def test_answers_follow_health_and_weights(user: User) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(WORLD)
        file.flush()
        Path(file.name).chmod(0o644)
        user.up(file.name)

    def asked(*words: str) -> list[str]:
        result = user.run("exec", "client", "--", "dig", "+short", "+time=5", *words)
        assert result.returncode == 0, result.stderr
        return result.stdout.split()

    assert asked("www.shop.test") == ["203.0.113.50"] and asked("api.shop.test", "CNAME") == ["blue.test."]
    assert asked("said.test") == ["203.0.113.51"]
    shares = Counter(asked(*["canary.shop.test"] * 400))
    assert shares.total() == 400 and 15 <= shares["203.0.113.60"] <= 80, shares  # 40 is most likely

    assert user.run("scale", "deployment/blue", "--replicas", "0").returncode == 0
    assert eventually(lambda: asked("www.shop.test") == ["203.0.113.60"])
    assert eventually(lambda: asked("api.shop.test", "CNAME") == ["green.test."])
    assert eventually(lambda: asked("said.test") == ["203.0.113.60"])
    zone = json.loads(user.run("get", "zone", "shop.test", "-o", "json").stdout)
    assert [one["record"] for one in zone["status"]["unhealthyRecords"]] == ["www A 203.0.113.50"]
    described = user.run("describe", "zone", "shop.test").stdout
    assert "unhealthy: L" in described and "as Service blue" in described, described
    events = user.run("events").stdout
    assert "RecordUnhealthy" in events and "www A 203.0.113.50 is not healthy" in events

    assert user.run("scale", "deployment/blue", "--replicas", "1").returncode == 0
    assert eventually(lambda: asked("www.shop.test") == ["203.0.113.50"])
    assert eventually(lambda: asked("api.shop.test", "CNAME") == ["blue.test."])
    assert "RecordHealthy" in user.run("events").stdout


def test_a_check_of_a_balancer_that_is_not_there_is_told(user: User) -> None:
    record = "{type: A, value: 10.0.0.1, weight: 1, healthCheck: {loadBalancer: nobody}}"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write("apiVersion: emulab.dev/v1\nkind: Zone\nmetadata: {name: a.test}\n")
        file.write(f"spec: {{records: [{record}]}}\n")
        file.flush()
        Path(file.name).chmod(0o644)
        up = user.run("up", file.name)
        user.note()
        told = "Zone/a.test spec.records[0].healthCheck.loadBalancer: there is no LoadBalancer nobody, so the record"
        assert up.returncode == 0 and told in up.stderr, up.stderr
