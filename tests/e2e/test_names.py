"""Every valid name works, all of them at their limits too: files and kernel objects have names made of it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from emulab import Lab
from emulab.kernel.processes.programs import run_program

from .tools import AS_ROOT, emulab, eventually, output

LAB = "l" * 40
NAMESPACE, SERVICE, CONTAINER, NODE = "n" * 63, "s" * 63, "c" * 63, "w" * 62
POD = ".".join(["p" * 50] * 4) + "." + "p" * 48  # 252 letters, and one that tells two pods apart
BALANCER, CLIENT = "b" * 63, "o" * 63

WORLD = f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: {"k" * 253}}}
spec:
  proxy: {{mode: PROXY}}
  nodes: [{{name: {NODE}a}}, {{name: {NODE}b}}]
---
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {"m" * 253}, namespace: {NAMESPACE}}}
data: {{{"a" * 253}: hello}}
---
apiVersion: v1
kind: Secret
metadata: {{name: {"t" * 253}, namespace: {NAMESPACE}}}
stringData: {{{"b" * 253}: world}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {POD}a, namespace: {NAMESPACE}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: {CONTAINER}
    command: [sh, -c, 'echo "$A $B $(hostname)"; exec sleep 1000']
    env:
    - {{name: A, valueFrom: {{configMapKeyRef: {{name: {"m" * 253}, key: {"a" * 253}}}}}}}
    - {{name: B, valueFrom: {{secretKeyRef: {{name: {"t" * 253}, key: {"b" * 253}}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {POD}b, namespace: {NAMESPACE}, labels: {{app: web}}}}
spec:
  containers: [{{name: {CONTAINER}, ports: [{{containerPort: 8080, name: abcdefghijklmno}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {SERVICE}, namespace: {NAMESPACE}}}
spec:
  selector: {{app: web}}
  type: LoadBalancer
  loadBalancerSourceRanges: [198.51.100.0/24, 10.0.0.0/8]
  sessionAffinity: ClientIP
  externalTrafficPolicy: Local
  ports: [{{port: 80, targetPort: abcdefghijklmno, name: {"d" * 63}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {SERVICE[:-1]}x, namespace: {NAMESPACE}}}
spec:
  selector: {{app: nobody}}
  type: NodePort
  ports: [{{port: 80, name: {"d" * 62}}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {"i" * 253}, namespace: {NAMESPACE}}}
spec:
  rules:
  - host: {"h" * 63}.example.com
    http: &paths
      paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {SERVICE}, port: {{number: 80}}}}}}}}]
  - {{host: {"h" * 64}.example.com, http: *paths}}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: {BALANCER}}}
spec: {{network: vpc, address: 10.0.0.100, ports: [80], target: {{ingress: true}}}}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {{name: {CLIENT}}}
spec: {{network: vpc}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: {"f" * 63}, namespace: {NAMESPACE}}}
spec:
  serviceName: {SERVICE}
  selector: {{matchLabels: {{app: set}}}}
  template:
    metadata: {{labels: {{app: set}}}}
    spec: {{containers: [{{name: {CONTAINER}, ports: [{{containerPort: 80}}]}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {"e" * 253}, namespace: {NAMESPACE}}}
spec:
  selector: {{matchLabels: {{app: deployed}}}}
  template:
    metadata: {{labels: {{app: deployed}}}}
    spec: {{containers: [{{name: {CONTAINER}, ports: [{{containerPort: 80}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: headless, namespace: {NAMESPACE}}}
spec: {{clusterIP: None, selector: {{app: set}}, ports: [{{port: 80, name: {"d" * 63}}}]}}
"""


async def command(lab: Lab, *arguments: str) -> str:
    done = await emulab("-l", lab.name, *arguments)
    assert done.status == 0, f"{arguments}: {done.stderr.decode()}"
    return done.text


@pytest.mark.parametrize("mode", ["nftables", "iptables", "userspace"])
async def test_names_at_their_limits(mode: str):
    async with Lab.from_text(WORLD.replace("PROXY", mode), name=f"{LAB[:30]}{os.getpid():010}"[:40]) as lab:
        unsaid = [
            w.partition("spec.")[2]
            for w in lab.warnings
            if w.endswith("a label of a DNS name has at most 63 letters")
        ]
        assert [w.partition(":")[0] for w in unsaid] == ["ports[0].name", "rules[1].host", "ports[0].name"]
        hostname = POD[:63].rstrip(".-")
        for pod in (f"{POD}a", f"{POD}b"):
            assert pod in await command(lab, "get", "pods", "-n", NAMESPACE)
            described = await command(lab, "describe", "pod", pod, "-n", NAMESPACE)
            assert described.splitlines()[0].split() == ["Name:", pod]
            assert await output(lab, f"pod/{pod}", "hostname", namespace=NAMESPACE) == hostname

        async def printed() -> bool:
            return (
                await command(lab, "logs", f"{POD}a", "-n", NAMESPACE, "-c", CONTAINER)
                == f"hello world {hostname}"
            )

        assert await eventually(printed)
        for source, url in (
            ("client", f"http://{'h' * 63}.example.com/"),
            (CLIENT, "http://10.0.0.100/"),
            ("client", f"http://{SERVICE}.{NAMESPACE}.lb.test/"),
        ):
            answer = await lab.request(url, source=source, headers={"Host": f"{'h' * 63}.example.com"})
            assert (answer.status, answer.json()["pod"]) == (200, f"{POD}b")
            assert answer.json()["namespace"] == NAMESPACE
        inside = await lab.request(f"http://{SERVICE}/", source=f"pod/{POD}a", namespace=NAMESPACE)
        assert inside.json()["pod"] == f"{POD}b" and inside.json()["node"].startswith(NODE)
        traced = await command(
            lab, "trace", "--from", f"pod/{POD}a", "-n", NAMESPACE, "-o", "json", f"http://{SERVICE}/"
        )
        places = {hop["place"] for hop in json.loads(traced)["hops"]}
        assert {f"{NAMESPACE}.{POD}a", f"{NAMESPACE}.{POD}b"} <= places
        if AS_ROOT:
            published = [
                n for n in os.listdir("/run/netns") if n.startswith(f"{lab.name}.{NAMESPACE}.{POD[:50]}")
            ]
            assert len(published) == 2
            assert (await run_program(["ip", "netns", "exec", published[0], "true"])).status == 0
        assert f'pod "{POD}a" deleted' in await command(lab, "delete", "pod", f"{POD}a", "-n", NAMESPACE)

        async def gone() -> bool:
            return not await lab.get("Pod", f"{POD}a")

        assert await eventually(gone)
    if AS_ROOT:
        assert not [n for n in os.listdir("/run/netns") if n.startswith(lab.name)]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("kind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c}]}" % ("p" * 254), 3, "a DNS name"),
        ("kind: Namespace\nmetadata: {name: %s}" % ("n" * 64), 3, "a DNS label"),
        ("kind: Service\nmetadata: {name: %s}\nspec: {ports: [{port: 80}]}" % ("s" * 64), 3, "a DNS label"),
        ("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: %s}]}" % ("c" * 64), 4, "a DNS label"),
        ("kind: ConfigMap\nmetadata: {name: %s}" % ("m" * 254), 3, "a DNS name"),
        ("kind: ConfigMap\nmetadata: {name: m}\ndata: {%s: x}" % ("k" * 254), 4, "a key"),
    ],
)  # fmt: skip
async def test_names_beyond_their_limits_are_refused(text: str, line: int, what: str):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.yaml"
        file.write_text(f"apiVersion: v1\n{text}\n")
        done = await emulab("plan", str(file))
    assert done.status == 1 and done.stderr.decode().startswith(f"emulab: {file}:{line}: "), done.stderr
    assert what in done.stderr.decode()


@pytest.mark.parametrize(
    ("kind", "rest", "path"),
    [("Zone", "metadata: {name: %s}\nspec: {records: []}", "metadata.name"),
     ("Cluster", "metadata: {name: c}\nspec: {clusterDomain: %s}", "spec.clusterDomain")],
)  # fmt: skip
async def test_zones_that_the_dns_can_not_hold_are_refused(kind: str, rest: str, path: str):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.yaml"
        file.write_text(f"apiVersion: emulab.dev/v1\nkind: {kind}\n{rest % ('z' * 64 + '.test')}\n")
        done = await emulab("plan", str(file))
    assert done.status == 1 and f"{path}: " in done.stderr.decode(), done.stderr
    assert "a label of more than 63 letters" in done.stderr.decode()
