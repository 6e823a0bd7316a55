"""`emulab expose`: makes a Service of what a workload, a Pod or another Service says of itself.

What it takes from there is what kubectl takes (kubectl/pkg/cmd/expose and polymorphichelpers): the selector, the
ports of all containers with their protocols, and the labels.
"""

from __future__ import annotations

import argparse

from emulab.cli.creating import add_dry_run, make, placed
from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.selection import fetch
from emulab.cli.usage import ServerRefusal, UsageError, add_namespace
from emulab.kinds.cells import Raw
from emulab.kinds.kind import EXPOSED
from emulab.kinds.registry import POD, REPLICATION_CONTROLLER, SERVICE
from emulab.lab.client.client import connect

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

_LONGEST_NAME = 63


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab expose [-l LAB] [-n NS] [--port N] [--target-port PORT] [--name NAME] [--type TYPE]"
        " [--dry-run=client] [-o FORMAT] KIND/NAME | KIND NAME"
    )
    add = parser.add_argument
    add("what", nargs="+", metavar="KIND/NAME", help="deployment/web, pod/db, svc/web, …")
    add("--port", metavar="N", default="", help="the Service's port (default: those of the containers)")
    add(
        *("--target-port",),
        metavar="PORT",
        default="",
        help="the containers' port, by number or name (default: the same)",
    )
    add("--name", default="", help="the Service's name (default: that of what is exposed)")
    add("--type", default="", help="ClusterIP, NodePort or LoadBalancer (default: ClusterIP)")
    add(
        "--protocol",
        default="",
        help="TCP, UDP or SCTP (default: that of the container's port, else TCP)",
    )
    add("--selector", metavar="LABELS", default="", help="app=web,… (default: as what is exposed)")
    add("--labels", metavar="LABELS", default="", help="the Service's labels (default: as what is exposed)")
    add("--cluster-ip", metavar="ADDRESS", default="", help="its address; None for a headless Service")
    add("--external-ip", metavar="ADDRESS", default="", help="another address at which nodes take it")
    add("--session-affinity", metavar="WHAT", default="", help="None or ClientIP")
    add_namespace(parser)
    add_dry_run(parser)


def run(options: argparse.Namespace) -> int:
    asked = references(options.what, name_required=True)
    if len(asked) > 1:
        raise UsageError("expose one at a time")
    if EXPOSED not in asked[0].kind.categories:
        raise UsageError(f"cannot expose a {asked[0].kind.kind}")
    return make(options, service_of(_fetched(asked[0], options), options), "exposed")


def _fetched(reference: Reference, options: argparse.Namespace) -> Raw:
    with connect(options.lab) as client:
        found = fetch(client, reference, options.namespace)
    if not found:
        raise ServerRefusal(not_found(reference))
    return found[0]


def service_of(exposed: Raw, options: argparse.Namespace) -> dict[str, Any]:
    """The Service of an object, with what the options say otherwise. Raises UsageError."""
    metadata = exposed["metadata"]
    labels = _pairs(options.labels) if options.labels else metadata.get("labels")
    made = placed(SERVICE, options.name or metadata["name"][:_LONGEST_NAME], options.namespace, labels)
    selector = _pairs(options.selector) if options.selector else _selector(exposed)
    said = {
        "type": options.type,
        "clusterIP": options.cluster_ip,
        "externalIPs": [options.external_ip] if options.external_ip else [],
        "sessionAffinity": options.session_affinity,
    }
    ports = _ports(exposed, options)
    made["spec"] = {"selector": selector, **({"ports": ports} if ports else {})}
    made["spec"] |= {field: value for field, value in said.items() if value}
    return made


def _ports(exposed: Raw, options: argparse.Namespace) -> list[dict[str, Any]]:
    own = dict(_own_ports(exposed))
    numbers = [_number(port) for port in options.port.split(",")] if options.port else list(own)
    if not numbers and options.cluster_ip != "None":
        raise UsageError("couldn't find port via --port flag or introspection")
    target = options.target_port
    return [
        {
            **({"name": f"port-{place}"} if len(numbers) > 1 else {}),
            "port": number,
            "protocol": options.protocol or own.get(number, "TCP"),
            "targetPort": (int(target) if target.isdecimal() else target) if target else number,
        }
        for place, number in enumerate(numbers, 1)
    ]


def _own_ports(exposed: Raw) -> list[tuple[int, str]]:
    """The ports of an object with their protocols: a Service's own, else those of its containers."""
    spec = exposed["spec"]
    if exposed["kind"] == SERVICE.kind:
        return [(port["port"], port.get("protocol") or "TCP") for port in spec.get("ports") or ()]
    containers = _pod(exposed)["spec"]["containers"]
    ports = [port for container in containers for port in container.get("ports") or ()]
    return [(port["containerPort"], port.get("protocol") or "TCP") for port in ports]


def _selector(exposed: Raw) -> dict[str, str]:
    """What selects the Pods of an object, as a Service can say it. Raises UsageError."""
    spec, kind = exposed["spec"], exposed["kind"]
    why = "couldn't retrieve selectors via --selector flag or introspection: "
    if kind == POD.kind:
        found, none = exposed["metadata"].get("labels"), "the pod has no labels and cannot be exposed"
    elif kind in (SERVICE.kind, REPLICATION_CONTROLLER.kind):
        found, none = spec.get("selector"), "the service has no pod selector set"
    else:
        if spec["selector"].get("matchExpressions"):
            raise UsageError(f"{why}couldn't convert expressions to map-based selector format")
        found, none = spec["selector"].get("matchLabels"), "it selects no labels"
    if not found:
        raise UsageError(f"{why}{none}")
    return dict(found)


def _pod(exposed: Raw) -> Raw:
    template: Raw = exposed if exposed["kind"] == POD.kind else exposed["spec"]["template"]
    return template


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"--port {text}: that is no port")
    return int(text)


def _pairs(text: str) -> dict[str, str]:
    """`a=b,c=d`. Raises UsageError."""
    found = [part.partition("=") for part in text.split(",")]
    if not all(key and equals for key, equals, _ in found):
        raise UsageError(f"{text}: write KEY=VALUE,…")
    return {key: value for key, _, value in found}
