"""What a Pod's `spec` may say, and a template's, as core/v1 validates them.

One rule is stricter than Kubernetes': two containers of one pod may not claim the same port.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulab.kinds.checks import port_or_name, protocol
from emulab.kinds.core.environmentschema import environment, environment_from
from emulab.kinds.core.lifecycleschema import (
    RESTARTING,
    only_of_sidecars,
    rules_beside_a_policy,
    signal_name,
    sleeps_fit,
)
from emulab.kinds.core.resourceschema import pod_resources, resources
from emulab.kinds.core.schedulingschema import (
    affinity,
    placed_without_gates,
    scheduling_gates,
    spread_constraints,
    tolerations,
)
from emulab.kinds.core.securityschema import container_security, namespaces_fit, pod_security
from emulab.kinds.core.volumeschema import mounts_of_nothing, volume_mounts, volumes
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    count,
    dns_label,
    dns_subdomain,
    exactly_one,
    integer,
    ip,
    label_key,
    label_value,
    maybe_empty,
    one_of,
    pattern,
    port,
    port_name,
    sequence,
    show,
    string,
    string_map,
    unique,
    wrong,
)
from emulab.model.paths import FieldPath

# Probes and hooks

_exec = typed("core.v1.ExecAction", {"command": sequence(string, least=1)}, required=("command",))

_header = typed(
    "core.v1.HTTPHeader", {"name": pattern(r"[-A-Za-z0-9]+", "the name of a header (A-Z, a-z, 0-9 and '-')")}
)
_http_get = typed(
    "core.v1.HTTPGetAction",
    {"port": port_or_name, "scheme": one_of("HTTP", "HTTPS"), "httpHeaders": sequence(_header)},
)

_tcp_socket = typed("core.v1.TCPSocketAction", {"port": port_or_name})


def _ends_nothing(probe: dict[str, Any]) -> Problems:
    if "terminationGracePeriodSeconds" in probe:
        return wrong("must not be set for readinessProbes", "terminationGracePeriodSeconds")
    return ()


def _probe(success: Check, *rules: Rule) -> Check:
    """A probe; `success` checks `successThreshold`, which only readiness may set to more than 1."""
    return typed(
        "core.v1.Probe",
        {
            "exec": _exec,
            "httpGet": _http_get,
            "tcpSocket": _tcp_socket,
            "grpc": typed("core.v1.GRPCAction", {"port": port}),
            "initialDelaySeconds": count,
            "periodSeconds": count,
            "timeoutSeconds": count,
            "successThreshold": success,
            "failureThreshold": count,
            "terminationGracePeriodSeconds": integer(1),
        },
        rules=(exactly_one("httpGet", "tcpSocket", "exec", "grpc"), *rules),
    )


_must_be_one = integer(0, 1, "1, which liveness and startup probes must have")

_hook = typed(
    "core.v1.LifecycleHandler",
    {
        "exec": _exec,
        "httpGet": _http_get,
        "tcpSocket": _tcp_socket,
        "sleep": typed("core.v1.SleepAction", {"seconds": count}),
    },
    rules=(exactly_one("exec", "httpGet", "tcpSocket", "sleep"),),
)

# Containers


def _image(value: Any) -> Problems:
    padded = type(value) is str and value != value.strip()
    return string(value) or (wrong("must not have leading or trailing whitespace") if padded else ())


_CONTAINER: dict[str, Check] = {
    "name": dns_label,
    "image": _image,
    "imagePullPolicy": maybe_empty(one_of("Always", "IfNotPresent", "Never")),
    "terminationMessagePolicy": maybe_empty(one_of("File", "FallbackToLogsOnError")),
    "env": environment,
    "envFrom": environment_from,
    "volumeMounts": volume_mounts,
    "ports": sequence(
        typed(
            "core.v1.ContainerPort",
            {
                "name": maybe_empty(port_name),
                "protocol": protocol,
                "containerPort": port,
                "hostPort": integer(0, 65535, "a port"),
                "hostIP": maybe_empty(ip),
            },
        ),
        rules=(unique("name"),),
    ),
    "readinessProbe": _probe(count, _ends_nothing),
    "livenessProbe": _probe(_must_be_one),
    "startupProbe": _probe(_must_be_one),
    "securityContext": container_security,
    "lifecycle": typed(
        "core.v1.Lifecycle", {"preStop": _hook, "postStart": _hook, "stopSignal": signal_name}
    ),
    "resources": resources,
    **RESTARTING,
}
_container = typed("core.v1.Container", _CONTAINER, rules=(rules_beside_a_policy,))
_init_container = typed("core.v1.Container", _CONTAINER, rules=(rules_beside_a_policy, only_of_sidecars))

# Pods

_SEARCHED = r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?"
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_LETTERS = 3, 32, 2048
"""What a resolv.conf may hold (pkg/apis/core/validation), with what the kubelet puts before it, too."""


def _one_port_one_container(spec: dict[str, Any]) -> Problems:
    """Containers of a pod share its network namespace, so a second listener on a port would not start."""
    owner: dict[tuple[int, str], str] = {}
    found: list[tuple[FieldPath, str]] = []
    for i, container in enumerate(spec["containers"]):
        for j, p in enumerate(container.get("ports", ())):
            key = (p["containerPort"], p.get("protocol", "TCP"))
            if owner.setdefault(key, container["name"]) != container["name"]:
                clash = f"{key[0]}/{key[1]} is already a port of container {show(owner[key])} of this pod"
                found += wrong(clash, "containers", i, "ports", j, "containerPort")
    return found


def _host_ports_fit(spec: dict[str, Any]) -> Problems:
    """One port of a node leads to one container's (`checkHostPortConflicts`); on the node's network it is that port."""
    found: list[tuple[FieldPath, str]] = []
    taken: set[tuple[int, str, str]] = set()
    for i, container in enumerate(spec["containers"]):
        for j, p in enumerate(container.get("ports", ())):
            number = p.get("hostPort")
            if not number:
                continue
            key = (number, p.get("protocol", "TCP"), p.get("hostIP", ""))
            if key in taken:
                what = f"{number}/{key[1]} is already a host port of this pod"
                found += wrong(what, "containers", i, "ports", j, "hostPort")
            taken.add(key)
            if spec.get("hostNetwork") and number != p["containerPort"]:
                what = "must match `containerPort` when `hostNetwork` is true"
                found += wrong(what, "containers", i, "ports", j, "containerPort")
    return found


def _names_once(spec: dict[str, Any]) -> Problems:
    names = {container["name"] for container in spec["containers"]}
    return [
        problem
        for i, container in enumerate(spec.get("initContainers", ()))
        if container["name"] in names
        for problem in wrong(
            f"{show(container['name'])} is a container's already", "initContainers", i, "name"
        )
    ]


def _at_most(most: int, what: str) -> Callable[[list[Any]], Problems]:
    return lambda values: wrong(f"must not have more than {most} {what}") if len(values) > most else ()


def _fit_a_line(searches: list[str]) -> Problems:
    fits = len(" ".join(searches)) <= MAX_SEARCH_LETTERS
    return (
        () if fits else wrong(f"must not have more than {MAX_SEARCH_LETTERS} characters (including spaces)")
    )


_search = pattern(
    rf"\.|{_SEARCHED}(\.{_SEARCHED})*\.?",
    "a DNS name (a-z, 0-9 and '_', and inside '-' and '.')",
    254,
)
"""With its last dot or without, or that dot alone (KEP-4427)."""


def _own_hostname(value: Any) -> Problems:
    long = isinstance(value, str) and len(value) > 64
    return dns_subdomain(value) or (wrong("must be no more than 64 characters") if long else ())


def _override_stands_alone(spec: dict[str, Any]) -> Problems:
    """KEP-4762."""
    if not spec.get("hostnameOverride"):
        return ()
    found: list[tuple[FieldPath, str]] = []
    for field in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(field):
            found += wrong(f"may not be set when {field} is true", "hostnameOverride")
    return found


def _own_name_servers(spec: dict[str, Any]) -> Problems:
    if spec.get("dnsPolicy") != "None" or spec.get("dnsConfig", {}).get("nameservers"):
        return ()
    return wrong("must name servers when dnsPolicy is None", "dnsConfig", "nameservers")


pod_spec_with_more = typed(
    "core.v1.PodSpec",
    {
        "containers": sequence(_container, rules=(unique("name"),), least=1),
        "initContainers": sequence(_init_container, rules=(unique("name"),)),
        "securityContext": pod_security,
        "resources": pod_resources,
        "nodeName": maybe_empty(dns_subdomain),
        "serviceAccountName": maybe_empty(dns_subdomain),
        "os": typed("core.v1.PodOS", {"name": one_of("linux", "windows")}),
        "preemptionPolicy": one_of("Never", "PreemptLowerPriority"),
        "schedulingGates": scheduling_gates,
        "nodeSelector": string_map(label_key, label_value),
        "affinity": affinity,
        "tolerations": tolerations,
        "restartPolicy": one_of("Always", "OnFailure", "Never"),
        "terminationGracePeriodSeconds": count,
        "hostname": maybe_empty(dns_label),
        "subdomain": maybe_empty(dns_label),
        "hostnameOverride": maybe_empty(_own_hostname),
        "activeDeadlineSeconds": integer(1),
        "readinessGates": sequence(typed("core.v1.PodReadinessGate", {"conditionType": label_key})),
        "dnsPolicy": one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        "dnsConfig": typed(
            "core.v1.PodDNSConfig",
            {
                "nameservers": sequence(ip, rules=(_at_most(MAX_NAMESERVERS, "nameservers"),)),
                "searches": sequence(_search, rules=(_at_most(MAX_SEARCHES, "search paths"), _fit_a_line)),
                "options": sequence(typed("core.v1.PodDNSConfigOption", required=("name",))),
            },
        ),
        "volumes": volumes,
        "hostAliases": sequence(typed("core.v1.HostAlias", {"ip": ip, "hostnames": sequence(dns_subdomain)})),
        "topologySpreadConstraints": spread_constraints,
    },
    rules=(
        *(_one_port_one_container, _host_ports_fit, _names_once, _own_name_servers, _override_stands_alone),
        *(namespaces_fit, sleeps_fit, placed_without_gates),
    ),
)
"""A Pod's `spec` that may get volumes beside its own."""


def pod_spec(value: Any) -> Problems:
    """A Pod's `spec`, whose containers see none but its own volumes."""
    return pod_spec_with_more(value) or mounts_of_nothing(value)
