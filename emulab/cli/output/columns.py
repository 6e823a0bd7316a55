"""kubectl's table of each kind, as pure functions from a raw object to cells.

A row function returns the cells of the narrow table and those that `-o wide` adds. Column names and
contents are those of kubernetes/pkg/printers/internalversion/printers.go; emulab's own kinds follow suit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.cli.output.ages import age
from emulab.cli.output.podcolumns import Raw, pod_cells

NONE = "<none>"
MAX_ENDPOINTS = 3  # that an EndpointSlice's row lists

Cells = tuple[list[str], list[str]]


class Columns(NamedTuple):
    """Headers of the narrow table, headers that wide adds, and what makes a row."""

    narrow: Sequence[str]
    wide: Sequence[str]
    cells: Callable[[Raw, float], Cells]


def _name(o: Raw) -> str:
    return str(o["metadata"]["name"])


def _spec(o: Raw) -> Raw:
    return o.get("spec") or {}


def _status(o: Raw) -> Raw:
    return o.get("status") or {}


def _age(o: Raw, now: float) -> str:
    return age(o["metadata"].get("creationTimestamp"), now)


def _labels(labels: Mapping[str, Any] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_text(selector: Raw | None) -> str:
    """A LabelSelector as kubectl prints it: `app=web,tier in (a,b),!canary`."""
    selector = selector or {}
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or ():
        values = ",".join(e.get("values") or ())
        words = {
            "In": f"{e['key']} in ({values})",
            "NotIn": f"{e['key']} notin ({values})",
            "Exists": e["key"],
        }
        parts.append(words.get(e["operator"], f"!{e['key']}"))
    return ",".join(parts) or NONE


def _containers(o: Raw) -> list[str]:
    """CONTAINERS and IMAGES of a workload's template."""
    containers = ((_spec(o).get("template") or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(c["name"] for c in containers),
        ",".join(str(c.get("image") or NONE) for c in containers),
    ]


def _number(mapping: Raw, field: str, default: int = 0) -> int:
    value = mapping.get(field)
    return default if value is None else int(value)


def service_ports(service: Raw) -> str:
    """`80/TCP,443:30443/TCP`"""
    texts = []
    for port in _spec(service).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port['port']}{node}/{port.get('protocol') or 'TCP'}")
    return ",".join(texts) or NONE


def external_ip(service: Raw) -> str:
    """The column EXTERNAL-IP, which means another thing for each type of Service."""
    spec = _spec(service)
    given = ",".join(spec.get("externalIPs") or ())
    match spec.get("type") or "ClusterIP":
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            entries = (_status(service).get("loadBalancer") or {}).get("ingress") or ()
            found = ",".join(str(e.get("ip") or e.get("hostname")) for e in entries)
            return ",".join(filter(None, (found, given))) or "<pending>"
        case _:
            return given or NONE


def _service(o: Raw, now: float) -> Cells:
    spec = _spec(o)
    cells = [
        _name(o),
        str(spec.get("type") or "ClusterIP"),
        str(spec.get("clusterIP") or NONE),
        external_ip(o),
        service_ports(o),
        _age(o, now),
    ]
    return cells, [_labels(spec.get("selector"))]


def _deployment(o: Raw, now: float) -> Cells:
    status = _status(o)
    ready = f"{_number(status, 'readyReplicas')}/{_number(_spec(o), 'replicas', 1)}"
    counts = [str(_number(status, field)) for field in ("updatedReplicas", "availableReplicas")]
    return [_name(o), ready, *counts, _age(o, now)], [
        *_containers(o),
        selector_text(_spec(o).get("selector")),
    ]


def _replica_set(o: Raw, now: float) -> Cells:
    counts = [
        _number(_spec(o), "replicas", 1),
        _number(_status(o), "replicas"),
        _number(_status(o), "readyReplicas"),
    ]
    wide = [*_containers(o), selector_text(_spec(o).get("selector"))]
    return [_name(o), *(str(c) for c in counts), _age(o, now)], wide


def _stateful_set(o: Raw, now: float) -> Cells:
    ready = f"{_number(_status(o), 'readyReplicas')}/{_number(_spec(o), 'replicas', 1)}"
    return [_name(o), ready, _age(o, now)], _containers(o)


_DAEMON_COUNTS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def _daemon_set(o: Raw, now: float) -> Cells:
    counts = [str(_number(_status(o), field)) for field in _DAEMON_COUNTS]
    template = (_spec(o).get("template") or {}).get("spec") or {}
    wide = [*_containers(o), selector_text(_spec(o).get("selector"))]
    return [_name(o), *counts, _labels(template.get("nodeSelector")), _age(o, now)], wide


def _node(o: Raw, now: float) -> Cells:
    ready = {c["type"]: c["status"] for c in _status(o).get("conditions") or ()}.get("Ready")
    state = {"True": "Ready", "False": "NotReady"}.get(str(ready), "Unknown")
    if _spec(o).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = [k.removeprefix(prefix) for k in o["metadata"].get("labels") or {} if k.startswith(prefix)]
    info = _status(o).get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in _status(o).get("addresses") or ()}
    cells = [
        _name(o),
        state,
        ",".join(sorted(roles)) or NONE,
        _age(o, now),
        str(info.get("kubeletVersion") or NONE),
    ]
    return cells, [addresses.get("InternalIP", NONE), addresses.get("ExternalIP", NONE)]


def _ingress(o: Raw, now: float) -> Cells:
    spec = _spec(o)
    hosts = [str(rule["host"]) for rule in spec.get("rules") or () if rule.get("host")]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    entries = (_status(o).get("loadBalancer") or {}).get("ingress") or ()
    address = ",".join(str(e.get("ip") or e.get("hostname")) for e in entries)
    ports = "80, 443" if spec.get("tls") else "80"
    return [
        _name(o),
        str(spec.get("ingressClassName") or NONE),
        shown or "*",
        address,
        ports,
        _age(o, now),
    ], []


def _ingress_class(o: Raw, now: float) -> Cells:
    parameters = _spec(o).get("parameters") or {}
    text = f"{parameters.get('kind')}/{parameters.get('name')}" if parameters else NONE
    return [_name(o), str(_spec(o).get("controller") or NONE), text, _age(o, now)], []


def _endpoint_slice(o: Raw, now: float) -> Cells:
    ports = ",".join(str(p.get("port") or "*") for p in o.get("ports") or ()) or "<unset>"
    found = [address for e in o.get("endpoints") or () for address in e.get("addresses") or ()]
    more = f" + {len(found) - MAX_ENDPOINTS} more..." if len(found) > MAX_ENDPOINTS else ""
    endpoints = ",".join(found[:MAX_ENDPOINTS]) + more
    return [_name(o), str(o.get("addressType") or "IPv4"), ports, endpoints or "<unset>", _age(o, now)], []


def _network_policy(o: Raw, now: float) -> Cells:
    return [_name(o), selector_text(_spec(o).get("podSelector")), _age(o, now)], []


def _namespace(o: Raw, now: float) -> Cells:
    state = (
        "Terminating" if o["metadata"].get("deletionTimestamp") else str(_status(o).get("phase") or "Active")
    )
    return [_name(o), state, _age(o, now)], []


def _config_map(o: Raw, now: float) -> Cells:
    return [_name(o), str(len(o.get("data") or {}) + len(o.get("binaryData") or {})), _age(o, now)], []


def _secret(o: Raw, now: float) -> Cells:
    keys = {*(o.get("data") or {}), *(o.get("stringData") or {})}
    return [_name(o), str(o.get("type") or "Opaque"), str(len(keys)), _age(o, now)], []


def _cluster(o: Raw, now: float) -> Cells:
    spec = _spec(o)
    nodes = spec.get("nodes", 2)
    count = nodes if isinstance(nodes, int) else len(nodes)
    network = (spec.get("network") or {}).get("mode") or "vxlan"
    proxy = (spec.get("proxy") or {}).get("mode") or "nftables"
    return [_name(o), str(count), network, proxy, _age(o, now)], []


def balancer_target(o: Raw) -> str:
    """`ingress`, or `service/NS/NAME:PORT`."""
    service = (_spec(o).get("target") or {}).get("service")
    if not service:
        return "ingress"
    return f"service/{service.get('namespace') or 'default'}/{service['name']}:{service['port']}"


def _load_balancer(o: Raw, now: float) -> Cells:
    spec, status = _spec(o), _status(o)
    address = str(status.get("vip") or spec.get("address") or "<pending>")
    ports = ",".join(str(p) for p in spec.get("ports") or (80, 443))
    ranges = ",".join(spec.get("sourceRanges") or ()) or NONE
    cells = [_name(o), str(spec.get("network") or "vpc"), address, ports, balancer_target(o), _age(o, now)]
    return cells, [ranges, str(status.get("address") or NONE)]


def _client(o: Raw, now: float) -> Cells:
    address = str(_status(o).get("address") or "<pending>")
    return [_name(o), str(_spec(o).get("network") or "internet"), address, _age(o, now)], []


def _zone(o: Raw, now: float) -> Cells:
    records = str(len(_spec(o).get("records") or ()))
    return [_name(o), str(_spec(o).get("visibility") or "public"), records, _age(o, now)], []


_WORKLOAD = ("CONTAINERS", "IMAGES", "SELECTOR")
_DAEMONS = ("DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR")

COLUMNS: Mapping[str, Columns] = {
    "Pod": Columns(
        ("NAME", "READY", "STATUS", "RESTARTS", "AGE"),
        ("IP", "NODE", "NOMINATED NODE", "READINESS GATES"),
        pod_cells,
    ),
    "Service": Columns(
        ("NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"), ("SELECTOR",), _service
    ),
    "Deployment": Columns(("NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"), _WORKLOAD, _deployment),
    "ReplicaSet": Columns(("NAME", "DESIRED", "CURRENT", "READY", "AGE"), _WORKLOAD, _replica_set),
    "StatefulSet": Columns(("NAME", "READY", "AGE"), _WORKLOAD[:2], _stateful_set),
    "DaemonSet": Columns(("NAME", *_DAEMONS, "AGE"), _WORKLOAD, _daemon_set),
    "Node": Columns(("NAME", "STATUS", "ROLES", "AGE", "VERSION"), ("INTERNAL-IP", "EXTERNAL-IP"), _node),
    "Ingress": Columns(("NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"), (), _ingress),
    "IngressClass": Columns(("NAME", "CONTROLLER", "PARAMETERS", "AGE"), (), _ingress_class),
    "EndpointSlice": Columns(("NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"), (), _endpoint_slice),
    "NetworkPolicy": Columns(("NAME", "POD-SELECTOR", "AGE"), (), _network_policy),
    "Namespace": Columns(("NAME", "STATUS", "AGE"), (), _namespace),
    "ConfigMap": Columns(("NAME", "DATA", "AGE"), (), _config_map),
    "Secret": Columns(("NAME", "TYPE", "DATA", "AGE"), (), _secret),
    "Cluster": Columns(("NAME", "NODES", "NETWORK", "PROXY", "AGE"), (), _cluster),
    "LoadBalancer": Columns(
        ("NAME", "NETWORK", "ADDRESS", "PORTS", "TARGET", "AGE"),
        ("SOURCE-RANGES", "VPC-ADDRESS"),
        _load_balancer,
    ),
    "Client": Columns(("NAME", "NETWORK", "ADDRESS", "AGE"), (), _client),
    "Zone": Columns(("NAME", "VISIBILITY", "RECORDS", "AGE"), (), _zone),
}


def rows(kind: str, objects: Sequence[Raw], now: float, wide: bool) -> tuple[list[str], list[list[str]]]:
    """The header and one row for each object of a kind."""
    columns = COLUMNS[kind]
    header = [*columns.narrow, *(columns.wide if wide else ())]
    lines = []
    for o in objects:
        narrow, more = columns.cells(o, now)
        lines.append([*narrow, *(more if wide else ())])
    return header, lines
