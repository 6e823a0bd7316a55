"""Pods and workloads: what is refused, with the path and the words, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import CONTAINER, POD, WORKLOAD, accepted, described, patched, refused

RESOURCES = "containers.0.resources"
HALF_A_PAGE = {"requests": {"memory": 1, "hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}
WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
LABEL = "(a-z, 0-9 and inside '-', at most 63)"
PORT_NAME = "a port name (a-z, 0-9 and single '-' inside, with a letter, at most 15)"
VALUE = "a label value (A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("containers", None, "containers: is required"),
        ("containers", [], "containers: must not be empty"),
        ("containers", {}, "containers: a mapping is not a list"),
        ("containers", ["web"], 'containers[0]: "web" is not a mapping'),
        ("containers.0.name", None, "containers[0].name: is required"),
        ("containers.0.name", "Web", f'containers[0].name: "Web" is not a DNS label {LABEL}'),
        ("containers.1", CONTAINER, 'containers[1].name: "web" is already the name of item 0'),
        ("initContainers.0", CONTAINER, 'initContainers[0].name: "web" is a container\'s already'),
        ("containers.0.command", "sleep 1", 'containers[0].command: "sleep 1" is not a list'),
        ("containers.0.args", [8080], "containers[0].args[0]: 8080 is not a string; put it in quotes"),
        (
            "containers.0.env.0.name",
            "A=B",
            'containers[0].env[0].name: "A=B" is not the name of an environment variable',
        ),
        (
            RESOURCES,
            {"requests": {"cpu": 2}, "limits": {"cpu": 1}},
            'containers[0].resources.requests: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            RESOURCES,
            {"limits": {"ram": 1}},
            'containers[0].resources.limits.ram: "ram": must be a standard resource type or fully qualified',
        ),
        (
            RESOURCES,
            {"requests": {"memory": "-1"}},
            'containers[0].resources.requests.memory: "-1": must be greater than or equal to 0',
        ),
        (
            RESOURCES,
            {"limits": {"x.com/gpu": "500m"}},
            'containers[0].resources.limits[x.com/gpu]: "500m": must be an integer',
        ),
        (
            RESOURCES,
            {"requests": {"x.com/gpu": 1}},
            "containers[0].resources.limits: Limit must be set for non overcommitable resources",
        ),
        (
            RESOURCES,
            HALF_A_PAGE,
            'containers[0].resources.requests: "2Mi": must be equal to hugepages-2Mi limit of 4Mi',
        ),
        (
            RESOURCES,
            {"limits": {"hugepages-2Mi": "4Mi"}},
            "containers[0].resources: HugePages require cpu or memory",
        ),
        (
            "resources",
            {"limits": {"ephemeral-storage": "1Gi"}},
            'resources.limits.ephemeral-storage: "ephemeral-storage": is no resource of a whole Pod; cpu, memory are',
        ),
        ("restartPolicy", "always", 'restartPolicy: "always" is not one of Always, OnFailure, Never'),
        (
            "terminationGracePeriodSeconds",
            -1,
            "terminationGracePeriodSeconds: -1 is not a number of 0 or more",
        ),
        ("hostname", "a.b", f'hostname: "a.b" is not a DNS label {LABEL}'),
        ("hostNetwork", "true", 'hostNetwork: "true" is not true or false; write it without quotes'),
        ("nodeSelector", {"disk": True}, "nodeSelector.disk: true is not a string; put it in quotes"),
        ("hostAliases.0", {"ip": "localhost"}, 'hostAliases[0].ip: "localhost" is not an IP address'),
        (
            "dnsPolicy",
            "Cluster",
            'dnsPolicy: "Cluster" is not one of ClusterFirst, ClusterFirstWithHostNet, Default, None',
        ),
        (
            "containers.0.ports",
            [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}],
            "containers[0].ports[1].hostPort: 8080/TCP is already a host port of this pod",
        ),
        (
            "containers.0.ports",
            [{"containerPort": 80, "hostIP": "x"}],
            'containers[0].ports[0].hostIP: "x" is not an IP address',
        ),
        ("dnsPolicy", "None", "dnsConfig.nameservers: must name servers when dnsPolicy is None"),
        (
            "dnsConfig",
            {"nameservers": [f"192.0.2.{n}" for n in range(4)]},
            "dnsConfig.nameservers: must not have more than 3 nameservers",
        ),
        (
            "dnsConfig",
            {"searches": ["x.test"] * 33},
            "dnsConfig.searches: must not have more than 32 search paths",
        ),
        (
            "dnsConfig",
            {"searches": ["x" * 250] * 9},
            "dnsConfig.searches: must not have more than 2048 characters (including spaces)",
        ),
        ("setHostnameAsFQDN", "yes", 'setHostnameAsFQDN: "yes" is not true or false'),
        ("hostnameOverride", "x" * 65, "hostnameOverride: must be no more than 64 characters"),
        ("dnsConfig", {"nameservers": ["dns"]}, 'dnsConfig.nameservers[0]: "dns" is not an IP address'),
        (
            "topologySpreadConstraints.0",
            {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            "topologySpreadConstraints[0].maxSkew: 0 is not a number of 1 or more",
        ),
        (
            "topologySpreadConstraints.0",
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2},
            "topologySpreadConstraints[0].minDomains: can only use minDomains if whenUnsatisfiable=DoNotSchedule",
        ),
        (
            "containers.0.image",
            " nginx",
            "containers[0].image: must not have leading or trailing whitespace",
        ),
        (
            "containers.0.imagePullPolicy",
            "always",
            'containers[0].imagePullPolicy: "always" is not one of Always, IfNotPresent, Never',
        ),
        (
            "containers.0.terminationMessagePolicy",
            "file",
            'containers[0].terminationMessagePolicy: "file" is not one of File, FallbackToLogsOnError',
        ),
        (
            "containers.0.lifecycle",
            {"stopSignal": "SIGFOO"},
            'containers[0].lifecycle.stopSignal: "SIGFOO" is not the name of a signal, such as SIGQUIT or '
            "SIGRTMIN+3",
        ),
        (
            "initContainers.0",
            {"name": "first", "startupProbe": {"tcpSocket": {"port": 80}}},
            "initContainers[0].startupProbe: may not be set for init containers without restartPolicy=Always",
        ),
        (
            "dnsConfig",
            {"searches": ["a b"]},
            "dnsConfig.searches[0]: \"a b\" is not a DNS name (a-z, 0-9 and '_', and inside '-' and '.')",
        ),
        ("os", {"name": "bsd"}, 'os.name: "bsd" is not one of linux, windows'),
        (
            "schedulingGates",
            [{"name": "a"}, {"name": "a"}],
            'schedulingGates[1].name: "a" is already the name of item 0',
        ),
    ],
)
def test_pod_specs(path: str, value: Any, problem: str) -> None:
    assert refused(described("Pod", patched(POD, path, value))) == [f"spec.{problem}"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("containers.0.lifecycle", {"stopSignal": "SIGRTMIN+3"}),
        ("containers.0.lifecycle", {"stopSignal": "SIGPOLL"}),
        ("dnsConfig", {"searches": ["_tcp.example.test", "example.test.", "."]}),
        (
            "initContainers.0",
            {"name": "side", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 80}}},
        ),
        ("containers.0.imagePullPolicy", ""),
    ],
)
def test_sound_pod_specs(path: str, value: Any) -> None:
    assert accepted(described("Pod", patched(POD, path, value)))


def test_who_waits_for_gates_is_on_no_node() -> None:
    spec = {**POD, "nodeName": "node1", "schedulingGates": [{"name": "a"}]}
    assert refused(described("Pod", spec)) == [
        "spec.nodeName: cannot be set until all schedulingGates have been cleared"
    ]


@pytest.mark.parametrize(
    ("port", "problem"),
    [
        ({}, "ports[0].containerPort: is required"),
        ({"containerPort": 0}, "ports[0].containerPort: 0 is not a port (1-65535)"),
        ({"containerPort": 65536}, "ports[0].containerPort: 65536 is not a port (1-65535)"),
        ({"containerPort": True}, "ports[0].containerPort: true is not a port (1-65535)"),
        ({"containerPort": 80.5}, "ports[0].containerPort: 80.5 is not a port (1-65535)"),
        ({"containerPort": 80, "protocol": "tcp"}, 'ports[0].protocol: "tcp" is not one of TCP, UDP, SCTP'),
        ({"containerPort": 80, "name": "http_web"}, f'ports[0].name: "http_web" is not {PORT_NAME}'),
        ({"containerPort": 80, "name": "a--b"}, f'ports[0].name: "a--b" is not {PORT_NAME}'),
        ({"containerPort": 80, "name": "8080"}, f'ports[0].name: "8080" is not {PORT_NAME}'),
        ({"containerPort": 80, "name": "a" * 16}, f'ports[0].name: "{"a" * 16}" is not {PORT_NAME}'),
    ],
)
def test_container_ports(port: dict[str, Any], problem: str) -> None:
    spec = patched(POD, "containers.0.ports", [port])
    assert refused(described("Pod", spec)) == [f"spec.containers[0].{problem}"]


@pytest.mark.parametrize("port", [1, 80, 65535])
@pytest.mark.parametrize("name", ["a", "http", "p-1", "1p", "a" * 15, ""])
def test_sound_container_ports(port: int, name: str) -> None:
    ports = [{"containerPort": port, "name": name}, {"containerPort": port, "protocol": "UDP"}]
    assert accepted(described("Pod", patched(POD, "containers.0.ports", ports)))


def test_two_containers_of_a_pod_cannot_have_the_same_port() -> None:
    web = {"name": "web", "ports": [{"containerPort": 8080}]}
    side = {"name": "side", "ports": [{"containerPort": 9090}, {"containerPort": 8080, "protocol": "TCP"}]}
    problem = (
        'containers[1].ports[1].containerPort: 8080/TCP is already a port of container "web" of this pod'
    )
    assert refused(described("Pod", {"containers": [web, side]})) == [f"spec.{problem}"]
    spec = patched(WORKLOAD, "template.spec.containers", [web, side])
    assert refused(described("Deployment", spec)) == [f"spec.template.spec.{problem}"]
    side["ports"][1]["protocol"] = "UDP"  # type: ignore[index]
    assert accepted(described("Pod", {"containers": [web, side]}))


@pytest.mark.parametrize(
    ("probe", "problem"),
    [
        ({}, ": needs exactly one of httpGet, tcpSocket, exec, grpc; it has none"),
        (
            {"httpGet": {"port": 80}, "exec": {"command": ["true"]}},
            ": needs exactly one of httpGet, tcpSocket, exec, grpc; not httpGet and exec together",
        ),
        ({"httpGet": {"path": "/"}}, ".httpGet.port: is required"),
        ({"httpGet": {"port": 0}}, ".httpGet.port: 0 is not a port (1-65535)"),
        ({"httpGet": {"port": "80"}}, f'.httpGet.port: "80" is not {PORT_NAME}'),
        ({"httpGet": {"port": 80, "scheme": "http"}}, '.httpGet.scheme: "http" is not one of HTTP, HTTPS'),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"value": "x"}]}},
            ".httpGet.httpHeaders[0].name: is required",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "X Y", "value": "z"}]}},
            ".httpGet.httpHeaders[0].name: \"X Y\" is not the name of a header (A-Z, a-z, 0-9 and '-')",
        ),
        ({"tcpSocket": {}}, ".tcpSocket.port: is required"),
        ({"exec": {"command": []}}, ".exec.command: must not be empty"),
        ({"exec": {"command": "ls"}}, '.exec.command: "ls" is not a list'),
        ({"tcpSocket": {"port": 1}, "periodSeconds": -1}, ".periodSeconds: -1 is not a number of 0 or more"),
        (
            {"tcpSocket": {"port": 1}, "timeoutSeconds": "1"},
            '.timeoutSeconds: "1" is not a number of 0 or more; write it without quotes',
        ),
        (
            {"tcpSocket": {"port": 1}, "failureThreshold": 1.5},
            ".failureThreshold: 1.5 is not a number of 0 or more",
        ),
    ],
)
@pytest.mark.parametrize("name", ["readinessProbe", "livenessProbe", "startupProbe"])
def test_probes(name: str, probe: dict[str, Any], problem: str) -> None:
    spec = patched(POD, f"containers.0.{name}", probe)
    assert refused(described("Pod", spec)) == [f"spec.containers[0].{name}{problem}"]


def test_a_readiness_probe_ends_nobody() -> None:
    probe = {"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 1}
    problem = "terminationGracePeriodSeconds: must not be set for readinessProbes"
    spec = patched(POD, "containers.0.readinessProbe", probe)
    assert refused(described("Pod", spec)) == [f"spec.containers[0].readinessProbe.{problem}"]
    assert accepted(described("Pod", patched(POD, "containers.0.livenessProbe", probe)))


def test_only_readiness_may_need_several_successes() -> None:
    probe = {"tcpSocket": {"port": 80}, "successThreshold": 2}
    assert accepted(described("Pod", patched(POD, "containers.0.readinessProbe", probe)))
    for name in ("livenessProbe", "startupProbe"):
        (problem,) = refused(described("Pod", patched(POD, f"containers.0.{name}", probe)))
        assert problem.startswith(f"spec.containers[0].{name}.successThreshold: 2 is not 1, which")


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"value": "x"}, "name: is required"),
        ({"name": "A", "value": 1}, "value: 1 is not a string; put it in quotes"),
        ({"name": "A", "value": True}, "value: true is not a string; put it in quotes"),
        (
            {"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            "valueFrom: may not be given beside value",
        ),
        (
            {"name": "A", "valueFrom": {}},
            "valueFrom: needs exactly one of fieldRef, configMapKeyRef, secretKeyRef, resourceFieldRef, "
            "fileKeyRef; it has none",
        ),
        (
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
            'valueFrom.fieldRef.fieldPath: "status.phase" is not a field of the downward API, such as '
            "metadata.name, metadata.labels['app'] or status.podIP",
        ),
        (
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}},
            "valueFrom.secretKeyRef.key: is required",
        ),
    ],
)
def test_env(env: dict[str, Any], problem: str) -> None:
    spec = patched(POD, "containers.0.env", [env])
    assert refused(described("Pod", spec)) == [f"spec.containers[0].env[0].{problem}"]


@pytest.mark.parametrize(
    "path",
    [
        "metadata.name",
        "metadata.uid",
        "metadata.labels['a.b/c']",
        "spec.nodeName",
        "status.podIP",
        "status.podIPs",
    ],
)
def test_downward_api(path: str) -> None:
    env = [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}]
    assert accepted(described("Pod", patched(POD, "containers.0.env", env)))


NODES = "requiredDuringSchedulingIgnoredDuringExecution"
TERM = f"affinity.nodeAffinity.{NODES}.nodeSelectorTerms[0]"


def _wants(field: str, **requirement: Any) -> dict[str, Any]:
    term = {field: [{"key": "disk", **requirement}]}
    return {"affinity": {"nodeAffinity": {NODES: {"nodeSelectorTerms": [term]}}}}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            _wants("matchExpressions", operator="IN", values=["ssd"]),
            f'{TERM}.matchExpressions[0].operator: "IN" is not one of In, NotIn, Exists, DoesNotExist, Gt, Lt',
        ),
        (
            _wants("matchExpressions", operator="In"),
            f"{TERM}.matchExpressions[0].values: must be given with operator In",
        ),
        (
            _wants("matchExpressions", operator="Exists", values=["ssd"]),
            f"{TERM}.matchExpressions[0].values: must not be given with operator Exists",
        ),
        (
            _wants("matchExpressions", operator="Gt", values=["1", "2"]),
            f"{TERM}.matchExpressions[0].values: must be a single value with operator Gt",
        ),
        (
            _wants("matchFields", operator="In", values=["a"]),
            f'{TERM}.matchFields[0].key: "disk" is not one of metadata.name',
        ),
        (
            _wants("matchFields", key="metadata.name", operator="In", values=["a", "b"]),
            f"{TERM}.matchFields[0].values: must be only one value",
        ),
        (
            {"affinity": {"nodeAffinity": {NODES: {"nodeSelectorTerms": []}}}},
            f"affinity.nodeAffinity.{NODES}.nodeSelectorTerms: must not be empty",
        ),
        (
            {"affinity": {"podAntiAffinity": {NODES: [{"topologyKey": ""}]}}},
            f'affinity.podAntiAffinity.{NODES}[0].topologyKey: "" is not a name such as app or example.com/app'
            " (A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)",
        ),
        (
            {"tolerations": [{"operator": "Exists", "value": "x"}]},
            "value: must be empty when operator is Exists",
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Equals"}]},
            'operator: "Equals" is not one of Equal, Exists',
        ),
        (
            {"tolerations": [{"value": "x"}]},
            "operator: must be Exists when key is empty, which means all values and all keys",
        ),
        (
            {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}]},
            "effect: must be NoExecute when tolerationSeconds is set",
        ),
    ],
)
def test_what_a_pod_says_of_nodes(spec: dict[str, Any], problem: str) -> None:
    path = "spec.tolerations[0]." if "tolerations" in spec else "spec."
    assert refused(described("Pod", {**POD, **spec})) == [f"{path}{problem}"]


@pytest.mark.parametrize(
    "spec",
    [
        _wants("matchExpressions", operator="NotIn", values=["ssd", ""]),
        _wants("matchExpressions", operator="DoesNotExist"),
        _wants("matchFields", key="metadata.name", operator="In", values=["node1"]),
        {"tolerations": [{"operator": "Exists"}, {"key": "a", "operator": "", "effect": ""}]},
        {
            "tolerations": [
                {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            ]
        },
    ],
)
def test_what_a_pod_may_say_of_nodes(spec: dict[str, Any]) -> None:
    assert accepted(described("Pod", {**POD, **spec}))


@pytest.mark.parametrize("kind", WORKLOADS)
@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("selector", None, "selector: is required"),
        ("template", None, "template: is required"),
        ("selector", {}, "selector: must not be empty"),
        ("selector", {"matchLabels": {}}, "selector: must not be empty"),
        (
            "selector.matchLabels",
            {"app": "other"},
            "template.metadata.labels: `selector` does not match template `labels`",
        ),
        ("template.metadata", None, "template.metadata.labels: `selector` does not match template `labels`"),
        ("selector.matchLabels", {"app": 1}, "selector.matchLabels.app: 1 is not a string; put it in quotes"),
        (
            "selector.matchExpressions",
            [{"key": "app", "operator": "in", "values": ["a"]}],
            'selector.matchExpressions[0].operator: "in" is not one of In, NotIn, Exists, DoesNotExist',
        ),
        (
            "selector.matchExpressions",
            [{"key": "app", "operator": "In"}],
            "selector.matchExpressions[0].values: must be given with operator In",
        ),
        (
            "selector.matchExpressions",
            [{"key": "app", "operator": "Exists", "values": ["a"]}],
            "selector.matchExpressions[0].values: must not be given with operator Exists",
        ),
        (
            "selector.matchExpressions",
            [{"key": "app", "operator": "NotIn", "values": ["web"]}],
            "template.metadata.labels: `selector` does not match template `labels`",
        ),
        ("template.spec.containers.0.name", None, "template.spec.containers[0].name: is required"),
        (
            "template.spec.restartPolicy",
            "Never",
            'template.spec.restartPolicy: "Never" must be Always in a workload',
        ),
        (
            "template.spec.activeDeadlineSeconds",
            5,
            "template.spec.activeDeadlineSeconds: may not be set in a workload",
        ),
        ("template.metadata.labels.v", 2, "template.metadata.labels.v: 2 is not a string; put it in quotes"),
        ("template.metadata.labels.v", "a b", f'template.metadata.labels.v: "a b" is not {VALUE}'),
        ("minReadySeconds", -1, "minReadySeconds: -1 is not a number of 0 or more"),
    ],
)
def test_workloads(kind: str, path: str, value: Any, problem: str) -> None:
    assert refused(described(kind, patched(WORKLOAD, path, value))) == [f"spec.{problem}"]


@pytest.mark.parametrize("kind", ("Deployment", "ReplicaSet", "StatefulSet"))
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (-1, "-1 is not a number of 0 or more"),
        ("3", '"3" is not a number of 0 or more; write it without quotes'),
        (1.5, "1.5 is not a number of 0 or more"),
    ],
)
def test_replicas(kind: str, value: Any, problem: str) -> None:
    assert refused(described(kind, {**WORKLOAD, "replicas": value})) == [f"spec.replicas: {problem}"]


def test_a_daemon_set_has_no_replicas() -> None:
    assert refused(described("DaemonSet", {**WORKLOAD, "replicas": 1}))[0].startswith(
        'unknown field "spec.replicas"'
    )


@pytest.mark.parametrize(
    ("kind", "path", "value", "problem"),
    [
        (
            "Deployment",
            "strategy.type",
            "OnDelete",
            'strategy.type: "OnDelete" is not one of RollingUpdate, Recreate',
        ),
        (
            "StatefulSet",
            "updateStrategy.type",
            "Recreate",
            'updateStrategy.type: "Recreate" is not one of RollingUpdate, OnDelete',
        ),
        (
            "Deployment",
            "strategy",
            {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
            "strategy.rollingUpdate: may not be given when type is Recreate",
        ),
        (
            "Deployment",
            "strategy.rollingUpdate",
            {"maxSurge": 0, "maxUnavailable": "0%"},
            "strategy.rollingUpdate.maxUnavailable: may not be 0 when maxSurge is 0",
        ),
        (
            "DaemonSet",
            "updateStrategy.rollingUpdate",
            {"maxUnavailable": 0},
            "updateStrategy.rollingUpdate.maxUnavailable: may not be 0 when maxSurge is 0",
        ),
        (
            "Deployment",
            "strategy.rollingUpdate.maxUnavailable",
            "120%",
            'strategy.rollingUpdate.maxUnavailable: "120%" must not be greater than 100%',
        ),
        (
            "Deployment",
            "minReadySeconds",
            600,
            "progressDeadlineSeconds: 600 must be greater than minReadySeconds",
        ),
        (
            "Deployment",
            "strategy.rollingUpdate.maxSurge",
            "25",
            'strategy.rollingUpdate.maxSurge: "25" is not a number of 0 or more, '
            'or a percentage such as "25%"',
        ),
        (
            "StatefulSet",
            "podManagementPolicy",
            "parallel",
            'podManagementPolicy: "parallel" is not one of OrderedReady, Parallel',
        ),
    ],
)
def test_strategies(kind: str, path: str, value: Any, problem: str) -> None:
    assert refused(described(kind, patched(WORKLOAD, path, value))) == [f"spec.{problem}"]


@pytest.mark.parametrize(
    "rolling",
    [{"maxSurge": 0}, {"maxUnavailable": 0}, {"maxSurge": "10%", "maxUnavailable": 0}, {"maxSurge": 100}],
)
def test_sound_strategies(rolling: dict[str, Any]) -> None:
    assert accepted(described("Deployment", patched(WORKLOAD, "strategy.rollingUpdate", rolling)))


NAME = "a DNS name (a-z, 0-9 and inside '-' and '.', at most 253)"


@pytest.mark.parametrize(
    ("kind", "spec", "name", "problem"),
    [
        ("Pod", POD, "web_1", f'"web_1" is not {NAME}'),
        ("Pod", POD, "a..b", f'"a..b" is not {NAME}'),
        ("Pod", POD, "a" * 254, f'"{"a" * 58}… is not {NAME}'),
        ("Deployment", WORKLOAD, "-web", f'"-web" is not {NAME}'),
        ("StatefulSet", WORKLOAD, "web.1", f'"web.1" is not a DNS label {LABEL}'),
        ("Namespace", None, "a.b", f'"a.b" is not a DNS label {LABEL}'),
        ("Namespace", None, "a" * 64, f'"{"a" * 58}… is not a DNS label {LABEL}'),
        (
            "Service",
            {"ports": [{"port": 1}]},
            "1st",
            f'"1st" is not a DNS label that starts with a letter {LABEL}',
        ),
    ],
)
def test_names(kind: str, spec: Any, name: str, problem: str) -> None:
    with_ellipsis = refused(described(kind, spec, name))
    assert with_ellipsis == [f"metadata.name: {problem}"]


@pytest.mark.parametrize(
    ("kind", "spec", "name"),
    [
        ("Pod", POD, "1.web-a.x"),
        ("Pod", POD, "a" * 253),
        ("StatefulSet", WORKLOAD, "1-a"),
        ("Namespace", None, "1"),
    ],
)
def test_sound_names(kind: str, spec: Any, name: str) -> None:
    assert accepted(described(kind, spec, name))[0].name == name


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "metadata.name: is required"),
        ({"name": 5}, "metadata.name: 5 is not a string; put it in quotes"),
        ({"name": "a", "labels": []}, "metadata.labels: a list is not a mapping"),
        ({"name": "a", "labels": {"x": "a" * 64}}, f'metadata.labels.x: "{"a" * 58}… is not {VALUE}'),
        (
            {"name": "a", "labels": {"a/b/c": "x"}},
            'metadata.labels[a/b/c]: "a/b/c" is not a name such as app or example.com/app '
            "(A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)",
        ),
        (
            {"name": "a", "annotations": {"on": False}},
            "metadata.annotations.on: false is not a string; put it in quotes",
        ),
        ({"name": "a", "namespace": "A"}, f'metadata.namespace: "A" is not a DNS label {LABEL}'),
    ],
)
def test_metadata(metadata: dict[str, Any], problem: str) -> None:
    raw = described("Pod", POD, metadata=metadata)
    (found,) = refused({**raw, "metadata": {"name": "a", **metadata}} if metadata else raw)
    assert found.removeprefix("Pod ") == problem
