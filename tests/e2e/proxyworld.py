"""The lab in which kube-proxy's semantics are tried: three nodes in two zones, and a Service for each rule."""

from __future__ import annotations

VIP_LOCAL, VIP_FENCED, CLOSED = "203.0.113.31", "203.0.113.32", "203.0.113.33"


def pod(
    name: str, node: str, label: str = "", ports: str = "{name: http, containerPort: 8080}", more: str = ""
) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {label or name}}}}}
spec: {{nodeName: {node}, containers: [{{name: c, ports: [{ports}]{more}}}]}}
---"""


def service(name: str, spec: str) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {spec}
---"""


HTTP = "{name: http, port: 80, targetPort: http}"
ECHO = "{name: echo, port: 80, protocol: UDP, targetPort: echo}"

WORLD = (
    "---".join(
        [
            """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: proxies}
spec:
  nodes: [{name: node1, zone: a}, {name: node2, zone: b}, {name: node3, zone: b}]
  proxy: {mode: MODE}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: office}
spec: {network: vpc}
"""
        ]
    )
    + "---"
    + "".join(
        [
            pod(
                *("east", "node1", "web"),
                "{name: http, containerPort: 8080}, {name: echo, containerPort: 8081, protocol: UDP}, "
                "{containerPort: 7070}",
            ),
            pod(
                *("west", "node2", "web"),
                "{name: http, containerPort: 9090}, {name: echo, containerPort: 9091, protocol: UDP}, "
                "{containerPort: 7070}",
            ),
            pod("asker", "node2"),
            pod("neighbour", "node1"),
            pod("far", "node3"),
            pod("alone", "node1"),
            pod("early", "node1", "mixed"),
            pod("ending", "node1", more=", lifecycle: {preStop: {sleep: {seconds: 20}}}"),
            *(pod(f"trio-{x}", f"node{i}", "trio") for i, x in enumerate("abc", 1)),
            *(
                pod(f"udp-{x}", "node1", "udp", "{name: echo, containerPort: 8081, protocol: UDP}")
                for x in "ab"
            ),
            service(
                "web",
                f"{{selector: {{app: web}}, ports: [{HTTP}, {ECHO}, {{name: more, port: 81, targetPort: 7070}}]}}",
            ),
            service("mixed", f"{{selector: {{app: mixed}}, ports: [{HTTP}]}}"),
            service("manual", "{ports: [{name: http, port: 80}]}"),
            service(
                "eager", f"{{publishNotReadyAddresses: true, selector: {{app: mixed}}, ports: [{HTTP}]}}"
            ),
            service("ending", f"{{selector: {{app: ending}}, ports: [{HTTP}]}}"),
            service(
                "nobody",
                "{type: LoadBalancer, loadBalancerIP: 203.0.113.33, externalIPs: [192.0.2.81], selector: {app: none}, "
                "ports: "
                "[{name: a, port: 80, nodePort: 30081}, {name: b, port: 80, protocol: UDP, nodePort: 30081}]}",
            ),
            service(
                "sticky",
                "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}, "
                f"selector: {{app: web}}, ports: [{HTTP}]}}",
            ),
            service(
                "loyal",
                f"{{sessionAffinity: ClientIP, selector: {{app: web}}, ports: [{HTTP}]}}",
            ),
            service("trio", f"{{selector: {{app: trio}}, ports: [{HTTP}]}}"),
            service(
                "ports",
                "{type: NodePort, externalIPs: [192.0.2.80], selector: {app: web}, ports: "
                "[{name: http, port: 80, targetPort: http, nodePort: 30080}, "
                "{name: echo, port: 80, protocol: UDP, targetPort: echo, nodePort: 30080}]}",
            ),
            service(
                "local",
                "{type: LoadBalancer, loadBalancerIP: 203.0.113.31, externalTrafficPolicy: Local, "
                "selector: {app: web}, ports: [{name: http, port: 80, targetPort: http, nodePort: 30082}]}",
            ),
            service("inner", f"{{internalTrafficPolicy: Local, selector: {{app: web}}, ports: [{HTTP}]}}"),
            service(
                "fenced",
                "{type: LoadBalancer, loadBalancerIP: 203.0.113.32, "
                "loadBalancerSourceRanges: [198.51.100.0/24, 10.0.0.13/32], "
                "selector: {app: web}, "
                "ports: [{name: http, port: 80, targetPort: http}]}",
            ),
            service("alone", f"{{selector: {{app: alone}}, ports: [{HTTP}]}}"),
            service("quick", "{selector: {app: quick}, ports: [{port: 80, targetPort: 8080}]}"),
            service(
                "samezone",
                f"{{trafficDistribution: PreferSameZone, selector: {{app: trio}}, ports: [{HTTP}]}}",
            ),
            service(
                "samenode",
                f"{{trafficDistribution: PreferSameNode, selector: {{app: trio}}, ports: [{HTTP}]}}",
            ),
            service("udp", f"{{selector: {{app: udp}}, ports: [{ECHO}]}}"),
        ]
    )
)
LATE = pod("late", "node2", "mixed", more=", readinessProbe: {exec: {command: ['false']}}")
"""A pod that never gets ready, and so is put there once the lab is."""
