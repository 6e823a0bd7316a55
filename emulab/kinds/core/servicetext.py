"""What `get` and `describe` print of Services. Pure."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.fields import Fields, Slices, pairs


def service_ports(service: Raw) -> str:
    """`80/TCP,443:30443/TCP`"""
    texts = []
    for port in cells.spec(service).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port['port']}{node}/{port.get('protocol') or 'TCP'}")
    return ",".join(texts) or NONE


def external_ip(service: Raw) -> str:
    """The column EXTERNAL-IP, which means another thing for each type of Service."""
    spec = cells.spec(service)
    given = ",".join(spec.get("externalIPs") or ())
    match spec.get("type") or "ClusterIP":
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            entries = (cells.status(service).get("loadBalancer") or {}).get("ingress") or ()
            found = ",".join(str(e.get("ip") or e.get("hostname")) for e in entries)
            return ",".join(filter(None, (found, given))) or "<pending>"
        case _:
            return given or NONE


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    narrow = [
        cells.name(o),
        str(spec.get("type") or "ClusterIP"),
        str(spec.get("clusterIP") or NONE),
        external_ip(o),
        service_ports(o),
        cells.age(o, now),
    ]
    return narrow, [cells.labels(spec.get("selector"))]


COLUMNS = Columns(("NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"), ("SELECTOR",), _cells)


def describe(o: Raw, slices: Slices) -> Fields:
    spec = o.get("spec") or {}
    fields: Fields = [
        ("Selector", ",".join(pairs(spec.get("selector"))) or NONE),
        ("Type", str(spec.get("type") or "ClusterIP")),
        *_families(spec),
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


def _families(spec: Raw) -> Fields:
    """As kubectl has them (`describeService` in k8s.io/kubectl/pkg/describe)."""
    policy, many = spec.get("ipFamilyPolicy"), [ip for ip in spec.get("clusterIPs") or () if ip]
    return [
        *([("IP Family Policy", str(policy))] if policy else []),
        ("IP Families", ",".join(spec.get("ipFamilies") or ()) or NONE),
        ("IP", str(spec.get("clusterIP") or "")),
        ("IPs", ",".join(many) or NONE),
    ]


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
                found += [
                    cells.socket_name(address, number)
                    for number in numbers
                    for address in endpoint["addresses"]
                ]
    return ",".join(found) or NONE
