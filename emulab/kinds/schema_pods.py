"""The schema of Pods and of the workloads that make them, as core/v1 and apps/v1 validate them.

One rule is stricter than Kubernetes': two containers of one pod may not claim the same port.
"""

from __future__ import annotations

from typing import Any

from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    annotation_map,
    anything,
    boolean,
    count,
    dns_label,
    dns_subdomain,
    either,
    exactly_one,
    integer,
    ip,
    label_key,
    label_map,
    label_value,
    mapping,
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
from emulab.model.selectors import matches_selector
from emulab.model.yaml_nodes import Path

protocol = one_of("TCP", "UDP", "SCTP")
port_or_name = either(int, port, port_name)
_number_or_percent = either(
    int, count, pattern(r"[0-9]{1,9}%", 'a number of 0 or more, or a percentage such as "25%"')
)


def _expression(value: dict[str, Any]) -> Problems:
    needs = value["operator"] in ("In", "NotIn")
    if needs == bool(value.get("values")):
        return ()
    return wrong(f"must {'' if needs else 'not '}be given with operator {value['operator']}", "values")


label_selector = mapping(
    {
        "matchLabels": label_map,
        "matchExpressions": sequence(
            mapping(
                {
                    "key": label_key,
                    "operator": one_of("In", "NotIn", "Exists", "DoesNotExist"),
                    "values": sequence(label_value),
                },
                required=("key", "operator"),
                rules=(_expression,),
            )
        ),
    }
)

# Probes and hooks

_exec = mapping({"command": sequence(string, least=1)}, required=("command",))
_http_get = mapping(
    {
        "path": string,
        "port": port_or_name,
        "host": string,
        "scheme": one_of("HTTP", "HTTPS"),
        "httpHeaders": sequence(mapping({"name": string, "value": string}, required=("name",))),
    },
    required=("port",),
)
_tcp_socket = mapping({"port": port_or_name, "host": string}, required=("port",))


def _probe(success: Check) -> Check:
    """A probe; `success` checks `successThreshold`, which only readiness may set to more than 1."""
    return mapping(
        {
            "exec": _exec,
            "httpGet": _http_get,
            "tcpSocket": _tcp_socket,
            "grpc": mapping({"port": port, "service": string}, required=("port",)),
            "initialDelaySeconds": count,
            "periodSeconds": count,
            "timeoutSeconds": count,
            "successThreshold": success,
            "failureThreshold": count,
            "terminationGracePeriodSeconds": integer(1),
        },
        rules=(exactly_one("httpGet", "tcpSocket", "exec", "grpc"),),
    )


_must_be_one = integer(0, 1, "1, which liveness and startup probes must have")
_hook = mapping(
    {
        "exec": _exec,
        "httpGet": _http_get,
        "tcpSocket": _tcp_socket,
        "sleep": mapping({"seconds": count}, required=("seconds",)),
    },
    rules=(exactly_one("exec", "httpGet", "tcpSocket", "sleep"),),
)

# Containers

_field_path = pattern(
    r"metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)",
    "a field of the downward API, such as metadata.name, metadata.labels['app'] or status.podIP",
)
_key_ref = mapping({"name": string, "key": string, "optional": boolean}, required=("name", "key"))


def _value_once(value: dict[str, Any]) -> Problems:
    both = value.get("value") and "valueFrom" in value
    return wrong("may not be given beside value", "valueFrom") if both else ()


_env = mapping(
    {
        "name": pattern(r"[^=\x00]+", "the name of an environment variable"),
        "value": string,
        "valueFrom": mapping(
            {
                "fieldRef": mapping({"fieldPath": _field_path}, required=("fieldPath",)),
                "configMapKeyRef": _key_ref,
                "secretKeyRef": _key_ref,
            },
            rules=(
                exactly_one("fieldRef", "configMapKeyRef", "secretKeyRef", "resourceFieldRef", "fileKeyRef"),
            ),
        ),
    },
    required=("name",),
    rules=(_value_once,),
)

_container = mapping(
    {
        "name": dns_label,
        "image": string,
        "command": sequence(string),
        "args": sequence(string),
        "workingDir": string,
        "env": sequence(_env),
        "envFrom": sequence(mapping({"prefix": string})),
        "ports": sequence(
            mapping(
                {
                    "name": maybe_empty(port_name),
                    "protocol": protocol,
                    "containerPort": port,
                    "hostPort": integer(0, 65535, "a port"),
                },
                required=("containerPort",),
            ),
            rules=(unique("name"),),
        ),
        "readinessProbe": _probe(count),
        "livenessProbe": _probe(_must_be_one),
        "startupProbe": _probe(_must_be_one),
        "lifecycle": mapping({"preStop": _hook, "postStart": _hook}),
    },
    required=("name",),
)

# Pods


def _one_port_one_container(spec: dict[str, Any]) -> Problems:
    """Containers of a pod share its network namespace, so a second listener on a port would not start."""
    owner: dict[tuple[int, str], str] = {}
    found: list[tuple[Path, str]] = []
    for i, container in enumerate(spec["containers"]):
        for j, p in enumerate(container.get("ports", ())):
            key = (p["containerPort"], p.get("protocol", "TCP"))
            if owner.setdefault(key, container["name"]) != container["name"]:
                clash = f"{key[0]}/{key[1]} is already a port of container {show(owner[key])} of this pod"
                found += wrong(clash, "containers", i, "ports", j, "containerPort")
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


def _own_name_servers(spec: dict[str, Any]) -> Problems:
    if spec.get("dnsPolicy") != "None" or spec.get("dnsConfig", {}).get("nameservers"):
        return ()
    return wrong("must name servers when dnsPolicy is None", "dnsConfig", "nameservers")


pod_spec = mapping(
    {
        "containers": sequence(_container, rules=(unique("name"),), least=1),
        "initContainers": sequence(_container, rules=(unique("name"),)),
        "nodeName": maybe_empty(dns_subdomain),
        "nodeSelector": string_map(label_key, label_value),
        "restartPolicy": one_of("Always", "OnFailure", "Never"),
        "terminationGracePeriodSeconds": count,
        "hostname": maybe_empty(dns_label),
        "subdomain": maybe_empty(dns_label),
        "hostNetwork": boolean,
        "dnsPolicy": one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        "dnsConfig": mapping(
            {
                "nameservers": sequence(ip),
                "searches": sequence(string),
                "options": sequence(mapping({"name": string, "value": string}, required=("name",))),
            }
        ),
        "hostAliases": sequence(mapping({"ip": ip, "hostnames": sequence(dns_subdomain)}, required=("ip",))),
        "topologySpreadConstraints": sequence(
            mapping(
                {
                    "maxSkew": integer(1),
                    "topologyKey": label_key,
                    "whenUnsatisfiable": one_of("DoNotSchedule", "ScheduleAnyway"),
                    "labelSelector": label_selector,
                },
                required=("maxSkew", "topologyKey", "whenUnsatisfiable"),
            )
        ),
    },
    required=("containers",),
    rules=(_one_port_one_container, _names_once, _own_name_servers),
)

# Workloads


def _selects_its_pods(spec: dict[str, Any]) -> Problems:
    selector = spec["selector"]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return wrong("must not be empty", "selector")
    template = spec["template"].get("metadata", {}).get("labels", {})
    if matches_selector(selector, template):
        return ()
    return wrong("`selector` does not match template `labels`", "template", "metadata", "labels")


def _restarts_always(spec: dict[str, Any]) -> Problems:
    policy = spec["template"].get("spec", {}).get("restartPolicy", "Always")
    if policy == "Always":
        return ()
    return wrong(f"{show(policy)} must be Always in a workload", "template", "spec", "restartPolicy")


def _rolling_is_for_rolling(strategy: dict[str, Any]) -> Problems:
    if "rollingUpdate" in strategy and strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return wrong(f"may not be given when type is {strategy['type']}", "rollingUpdate")
    return ()


def _moves(default_surge: int | str, default_unavailable: int | str) -> Rule:
    """A rolling update that may neither add nor remove a pod would never end."""

    def rule(rolling: dict[str, Any]) -> Problems:
        surge = rolling.get("maxSurge", default_surge)
        unavailable = rolling.get("maxUnavailable", default_unavailable)
        if all(str(share).rstrip("%").strip("0") == "" for share in (surge, unavailable)):
            return wrong("may not be 0 when maxSurge is 0", "maxUnavailable")
        return ()

    return rule


def _strategy(other: str, default_surge: int | str, default_unavailable: int | str) -> Check:
    rolling = {"maxSurge": _number_or_percent, "maxUnavailable": _number_or_percent, "partition": count}
    return mapping(
        {
            "type": one_of("RollingUpdate", other),
            "rollingUpdate": mapping(rolling, rules=(_moves(default_surge, default_unavailable),)),
        },
        rules=(_rolling_is_for_rolling,),
    )


_template = mapping(
    {"metadata": mapping({"labels": label_map, "annotations": annotation_map}), "spec": pod_spec},
    required=("spec",),
)


def _workload(**fields: Check) -> Check:
    common: dict[str, Check] = {
        "replicas": count,
        "minReadySeconds": count,
        "revisionHistoryLimit": count,
        "selector": label_selector,
        "template": _template,
    }
    return mapping(
        {**common, **fields}, required=("selector", "template"), rules=(_selects_its_pods, _restarts_always)
    )


deployment_spec = _workload(
    strategy=_strategy("Recreate", "25%", "25%"), paused=boolean, progressDeadlineSeconds=count
)
replica_set_spec = _workload()
stateful_set_spec = _workload(
    serviceName=string,
    podManagementPolicy=one_of("OrderedReady", "Parallel"),
    ordinals=mapping({"start": count}),
    updateStrategy=_strategy("OnDelete", 0, 1),
    volumeClaimTemplates=sequence(anything),
)
daemon_set_spec = _workload(updateStrategy=_strategy("OnDelete", 0, 1))
