"""What `emulab describe` says of each kind. Pure.

A description is a list of fields, `(label, value)`. A value is a text, a list of texts that stand below each
other beside the label, or a list of fields that stand below the label, indented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from emulab.cli.output.columns import NONE, balancer_target, external_ip, selector_text
from emulab.cli.output.podcolumns import Raw, pod_status

Value = Union[str, list[str], "Fields"]
Fields = list[tuple[str, "Value"]]
Slices = Sequence[Raw]

_HIDDEN = ("kubectl.kubernetes.io/last-applied-configuration",)


def describe(o: Raw, slices: Slices) -> str:
    """The description of an object; `slices` are the EndpointSlices of its namespace."""
    metadata = o["metadata"]
    fields: Fields = [("Name", str(metadata["name"]))]
    if metadata.get("namespace"):
        fields.append(("Namespace", metadata["namespace"]))
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _HIDDEN}
    fields += [("Labels", _pairs(metadata.get("labels"))), ("Annotations", _pairs(annotations, ": "))]
    owners = [
        f"{r['kind']}/{r['name']}" for r in metadata.get("ownerReferences") or () if r.get("controller")
    ]
    if owners:
        fields.append(("Controlled By", owners[0]))
    fields.append(("Created", str(metadata.get("creationTimestamp") or NONE)))
    if metadata.get("deletionTimestamp"):
        fields.append(("Terminating", f"since {metadata['deletionTimestamp']}"))
    special = _KINDS.get(o["kind"])
    fields += special(o, slices) if special else _generic(o)
    return render(fields)


def render(fields: Fields, indent: int = 0) -> str:
    """Labels in one column, values in another, what is nested indented."""
    flat = [label for label, value in fields if not _nested(value)]
    width = max((len(label) for label in flat), default=0) + 3
    lines: list[str] = []
    margin = " " * indent
    for label, value in fields:
        if _nested(value):
            lines += [f"{margin}{label}:", render(value, indent + 2)]  # type: ignore[arg-type]
            continue
        texts = [value] if isinstance(value, str) else [str(v) for v in value] or [NONE]
        lines.append(f"{margin}{label + ':':<{width}}{texts[0]}".rstrip())
        lines += [f"{margin}{'':<{width}}{text}" for text in texts[1:]]
    return "\n".join(lines)


def _nested(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], tuple)


def _pairs(mapping: Mapping[str, Any] | None, between: str = "=") -> list[str]:
    return [f"{k}{between}{v}" for k, v in sorted((mapping or {}).items())]


def _conditions(o: Raw) -> Fields:
    found: list[str] = []
    for c in (o.get("status") or {}).get("conditions") or ():
        why = ": ".join(str(c[k]) for k in ("reason", "message") if c.get(k))
        found.append(f"{c['type']}={c['status']}" + (f" ({why})" if why else ""))
    return [("Conditions", found)] if found else []


# pods


def _pod(o: Raw, _: Slices) -> Fields:
    spec, status = o["spec"], o.get("status") or {}
    fields: Fields = [
        ("Node", f"{spec.get('nodeName') or NONE}/{status.get('hostIP') or NONE}"),
        ("Start Time", str(status.get("startTime") or NONE)),
        ("Status", pod_status(o)),
    ]
    fields += [(k.title(), str(status[k])) for k in ("reason", "message") if status.get(k)]
    fields.append(("IPs", [entry["ip"] for entry in status.get("podIPs") or ()]))
    for label, containers, statuses in (
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
    ):
        known = {s["name"]: s for s in status.get(statuses) or ()}
        found: Fields = [
            (c["name"], _container(c, known.get(c["name"]) or {})) for c in spec.get(containers) or ()
        ]
        if found:
            fields.append((label, found))
    fields += _conditions(o)
    fields.append(("Restart Policy", str(spec.get("restartPolicy") or "Always")))
    fields.append(("DNS Policy", str(spec.get("dnsPolicy") or "ClusterFirst")))
    if spec.get("hostNetwork"):
        fields.append(("Host Network", "true"))
    fields.append(("Node-Selectors", _pairs(spec.get("nodeSelector"))))
    return fields


def _container(c: Raw, status: Raw) -> Fields:
    fields: Fields = [("Image", str(c.get("image") or NONE))]
    ports = [f"{p['containerPort']}/{p.get('protocol') or 'TCP'}" + _named(p) for p in c.get("ports") or ()]
    fields.append(("Ports", ports))
    command = [str(word) for word in (*(c.get("command") or ()), *(c.get("args") or ()))]
    fields.append(("Command", command or ["(emulab's stand-in)"]))
    fields += _state("State", status.get("state") or {})
    fields += _state("Last State", status.get("lastState") or {})
    if status:
        fields.append(("Ready", str(bool(status.get("ready")))))
        fields.append(("Restart Count", str(status.get("restartCount", 0))))
    for kind in ("liveness", "readiness", "startup"):
        if c.get(f"{kind}Probe"):
            fields.append((kind.title(), probe_text(c[f"{kind}Probe"])))
    if c.get("env"):
        fields.append(("Environment", [f"{e['name']}: {_environment(e)}" for e in c["env"]]))
    return fields


def _named(port: Raw) -> str:
    return f" ({port['name']})" if port.get("name") else ""


def _state(label: str, state: Raw) -> Fields:
    for name, detail in state.items():
        more = [f"{k}: {v}" for k, v in (detail or {}).items() if v not in ("", None)]
        return [(label, [name.title(), *(f"  {text}" for text in more)])]
    return []


def _environment(entry: Raw) -> str:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value") or "")
    kind, reference = next(iter(source.items()))
    path = reference.get("fieldPath") or f"{reference.get('name')}/{reference.get('key')}"
    return f"<{kind} {path}>"


def probe_text(probe: Raw) -> str:
    """`http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1 #failure=3`"""
    if probe.get("httpGet"):
        get = probe["httpGet"]
        host, port, path = get.get("host") or "", get.get("port"), get.get("path") or "/"
        what = f"http-get {(get.get('scheme') or 'HTTP').lower()}://{host}:{port}{path}"
    elif probe.get("exec"):
        what = f"exec {probe['exec'].get('command')}"
    else:
        what = f"tcp-socket :{(probe.get('tcpSocket') or probe.get('grpc') or {}).get('port')}"
    return (
        f"{what} delay={probe.get('initialDelaySeconds') or 0}s timeout={probe.get('timeoutSeconds') or 1}s"
        f" period={probe.get('periodSeconds') or 10}s #success={probe.get('successThreshold') or 1}"
        f" #failure={probe.get('failureThreshold') or 3}"
    )


# traffic


def _service(o: Raw, slices: Slices) -> Fields:
    spec = o.get("spec") or {}
    fields: Fields = [
        ("Selector", ",".join(_pairs(spec.get("selector"))) or NONE),
        ("Type", str(spec.get("type") or "ClusterIP")),
        ("IPs", [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip]),
    ]
    if spec.get("type") in ("LoadBalancer", "ExternalName") or spec.get("externalIPs"):
        fields.append(("External", external_ip(o)))
    for port in spec.get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        fields.append(("Port", f"{port.get('name') or '<unset>'}  {port['port']}/{protocol}"))
        fields.append(("TargetPort", f"{port.get('targetPort') or port['port']}/{protocol}"))
        if port.get("nodePort"):
            fields.append(("NodePort", f"{port['nodePort']}/{protocol}"))
        fields.append(("Endpoints", endpoints(o["metadata"]["name"], port, slices)))
    fields.append(("Session Affinity", str(spec.get("sessionAffinity") or "None")))
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        fields.append(("External Traffic Policy", str(spec.get("externalTrafficPolicy") or "Cluster")))
    fields.append(("Internal Traffic Policy", str(spec.get("internalTrafficPolicy") or "Cluster")))
    if spec.get("healthCheckNodePort"):
        fields.append(("HealthCheck NodePort", str(spec["healthCheckNodePort"])))
    return fields


def endpoints(service: str, port: Raw | None, slices: Slices) -> str:
    """The ready endpoints of a Service's port: `10.244.1.2:8080,…`"""
    found = []
    for o in slices:
        if (o["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
            continue
        numbers = [
            p.get("port")
            for p in o.get("ports") or ()
            if port is None or (p.get("name") or "") == (port.get("name") or "")
        ]
        for endpoint in o.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found += [f"{address}:{number}" for number in numbers for address in endpoint["addresses"]]
    return ",".join(found) or NONE


def _ingress(o: Raw, slices: Slices) -> Fields:
    spec = o.get("spec") or {}
    entries = ((o.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    default = spec.get("defaultBackend")
    fields: Fields = [
        ("Address", ",".join(str(e.get("ip") or e.get("hostname")) for e in entries) or NONE),
        ("Ingress Class", str(spec.get("ingressClassName") or NONE)),
        ("Default backend", _backend(default, slices) if default else "<default>"),
    ]
    if spec.get("tls"):
        texts = [
            f"{t.get('secretName') or NONE} terminates {','.join(t.get('hosts') or ())}" for t in spec["tls"]
        ]
        fields.append(("TLS", texts))
    rules: Fields = []
    for rule in spec.get("rules") or ():
        paths = (rule.get("http") or {}).get("paths") or ()
        texts = [
            f"{p.get('path') or '/'} ({p.get('pathType')})  {_backend(p['backend'], slices)}" for p in paths
        ]
        rules.append((str(rule.get("host") or "*"), texts))
    if rules:
        fields.append(("Rules", rules))
    return fields


def _backend(backend: Raw, slices: Slices) -> str:
    service = backend.get("service") or {}
    name, port = service.get("name") or "", service.get("port") or {}
    return f"{name}:{port.get('number') or port.get('name')} ({endpoints(name, None, slices)})"


def _endpoint_slice(o: Raw, _: Slices) -> Fields:
    ports = [
        f"{p.get('name') or '<unset>'}  {p.get('port')}/{p.get('protocol') or 'TCP'}"
        for p in o.get("ports") or ()
    ]
    fields: Fields = [("AddressType", str(o.get("addressType") or "IPv4")), ("Ports", ports)]
    found: Fields = []
    for e in o.get("endpoints") or ():
        target = e.get("targetRef") or {}
        conditions = ", ".join(f"{k}={v}" for k, v in (e.get("conditions") or {}).items())
        where = f"{target.get('kind')}/{target.get('name')} on {e.get('nodeName')}" if target else NONE
        found.append((",".join(e.get("addresses") or ()), [where, conditions or NONE]))
    return [*fields, ("Endpoints", found or "<none>")]


# workloads, nodes, balancers


def _workload(o: Raw, _: Slices) -> Fields:
    spec, status = o.get("spec") or {}, o.get("status") or {}
    fields: Fields = [("Selector", selector_text(spec.get("selector")))]
    counts = {
        k: v
        for k, v in status.items()
        if isinstance(v, int) and k not in ("observedGeneration", "collisionCount")
    }
    wanted = spec.get("replicas", 1) if o["kind"] != "DaemonSet" else status.get("desiredNumberScheduled", 0)
    fields.append(
        ("Replicas", f"{wanted} desired; " + (", ".join(f"{k} {v}" for k, v in counts.items()) or "none yet"))
    )
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    if o["kind"] != "ReplicaSet":
        fields.append(("Strategy", str(strategy.get("type") or "RollingUpdate")))
    template = spec.get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    inner: Fields = [("Labels", _pairs((template.get("metadata") or {}).get("labels")))]
    images: Fields = [(c["name"], _container(c, {})) for c in containers]
    inner.append(("Containers", images or NONE))
    return [*fields, ("Pod Template", inner), *_conditions(o)]


def _node(o: Raw, _: Slices) -> Fields:
    status = o.get("status") or {}
    return [
        ("PodCIDRs", [str(c) for c in (o.get("spec") or {}).get("podCIDRs") or ()]),
        ("Addresses", [f"{a['type']}: {a['address']}" for a in status.get("addresses") or ()]),
        ("Capacity", _pairs(status.get("capacity"), ": ")),
        *_conditions(o),
    ]


def _load_balancer(o: Raw, _: Slices) -> Fields:
    spec, status = o.get("spec") or {}, o.get("status") or {}
    return [
        ("Network", str(spec.get("network") or "vpc")),
        ("Address", str(status.get("vip") or spec.get("address") or "<pending>")),
        ("Ports", ",".join(str(p) for p in spec.get("ports") or (80, 443))),
        ("Target", balancer_target(o)),
        ("Source Ranges", [str(r) for r in spec.get("sourceRanges") or ()] or ["everyone"]),
    ]


def _data(o: Raw, _: Slices) -> Fields:
    if o["kind"] == "Secret":  # as kubectl: sizes, not values
        sizes = {**(o.get("data") or {}), **(o.get("stringData") or {})}
        found = [f"{k}: {len(str(v))} characters" for k, v in sorted(sizes.items())]
        return [("Type", str(o.get("type") or "Opaque")), ("Data", found)]
    data: Fields = [(str(k), str(v).splitlines() or [""]) for k, v in sorted((o.get("data") or {}).items())]
    return [("Data", data or NONE)]


def _generic(o: Raw) -> Fields:
    """Spec and status as they are."""
    fields: Fields = []
    for part in ("spec", "status"):
        if o.get(part):
            fields.append((part.title(), _tree(o[part])))
    return fields


def _tree(value: Any) -> Value:
    if isinstance(value, Mapping):
        return [(str(k), _tree(v)) for k, v in value.items()] or NONE
    if isinstance(value, list | tuple):
        if any(isinstance(v, Mapping) for v in value):
            return [(str(index), _tree(v)) for index, v in enumerate(value)]
        return [str(v) for v in value]
    return str(value)


_KINDS: Mapping[str, Callable[[Raw, Slices], Fields]] = {
    "Pod": _pod,
    "Service": _service,
    "Ingress": _ingress,
    "EndpointSlice": _endpoint_slice,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "DaemonSet": _workload,
    "Node": _node,
    "LoadBalancer": _load_balancer,
    "ConfigMap": _data,
    "Secret": _data,
}
