"""`emulab policy`: who may reach whom by the NetworkPolicies, and whether packets agree."""

from __future__ import annotations

import argparse
import asyncio
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.cli.policymatrix import matrix
from emulab.cli.usage import ServerRefusal, UsageError, add_namespace, add_output
from emulab.errors import UserError
from emulab.model.families import family_of
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emulab.kinds.cells import Raw
    from emulab.plan.policies.verdicts import FlowVerdict, PolicyEnd
    from emulab.toolbox.policies import Policies

_PROTOCOLS = ("tcp", "udp", "sctp")
_NODES = ("no/", "node/", "nodes/")
_SERVICES = ("svc/", "service/", "services/")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = "check SOURCE DESTINATION[:PORT[/PROTOCOL]] | matrix [--probe]"
    parser.usage = f"emulab policy [-l LAB] [-n NS] [--to-namespace NS] [-o json] {actions}"
    add = parser.add_argument
    add("action", choices=_ACTIONS, metavar="|".join(_ACTIONS), help="what to do")
    add(
        "ends",
        nargs="*",
        metavar="SOURCE DESTINATION",
        help="of check: POD, NAMESPACE/POD, deploy/NAME, svc/NAME, node/NAME or an address; the destination with a"
        " port, or else each of its own",
    )
    add_namespace(parser)
    add(
        "--to-namespace", metavar="NS", default="", help="the destination's namespace (default: the source's)"
    )
    add("--probe", action="store_true", help="of matrix: send packets as well, and tell where they disagree")
    add("--port", type=_port, metavar="PORT", help="of matrix: this TCP port instead of each pod's first one")
    add_output(parser, "json")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port (1-65535)")


def run(options: argparse.Namespace) -> int:
    if options.action == "check" and (options.probe or options.port is not None):
        raise UsageError("--probe, --port: of policy matrix alone")
    return _ACTIONS[options.action](options)


# --- check ------------------------------------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> int:
    from emulab.python import Lab
    from emulab.toolbox.policies import policies_of

    if len(options.ends) != 2:
        raise UsageError("policy check takes a SOURCE and a DESTINATION[:PORT[/PROTOCOL]]")
    source_text, (target, port, protocol) = options.ends[0], _split(options.ends[1])
    there = asyncio.run(policies_of(Lab([], name=options.lab)))
    sources = _ends(options, there, source_text, options.namespace)[0][0]
    if sources[0].node and not _is_address(source_text):
        shown = f"`emulab exec {sources[0].node} -- ip route get ADDRESS` shows it"
        told = f"{source_text}: sends from an address of its node's, which the way decides"
        raise UsageError(f"{told}: ask for that; {shown}")
    namespace = options.to_namespace or _placed(there, source_text, options.namespace)[1]
    service = _service(options, target, namespace) if target.startswith(_SERVICES) else None
    destinations = _destinations(options, there, (target, port, protocol), namespace, service)
    translated = service is not None and service["spec"].get("clusterIP") != "None"
    if translated and there.proxied:
        told = f"in proxy mode userspace it is a node that connects to the pods of {target}, so policies judge that"
        told += f" one's address and never see {source_text}: ask for the node's address and the pod instead"
        print(f"warning: {told}", file=sys.stderr)
    spoken = (service["spec"].get("ipFamilies") or ()) if service is not None else ()
    alike = [(_pairs(sources, ends, spoken), ports) for ends, ports in destinations]
    if not any(pairs for pairs, _ in alike):
        raise UserError(f"{source_text} and {target} have no addresses of one family")
    found: list[list[_Answer]] = []
    for pairs, ports in alike:
        # An endpoint that a Service has in another family alone is none of what it leads this source to.
        for number, proto in ports if pairs else ():
            judged = [(s, d, there.verdict(s, d, proto, number, by_service=translated)) for s, d in pairs]
            found.append([_Answer(s, d, number, proto, verdict) for s, d, verdict in judged])
    if not found:
        raise UserError(f"{target}: none of its pods has the port that it names")
    if options.output == "json":
        print(as_json([answer.plain() for answers in found for answer in answers]))
    else:
        for answers in found:
            same = len({answer.about for answer in answers}) == 1
            for answer in answers[:1] if same else answers:
                print(answer.text())
    return 0 if all(answer.verdict.allows for answers in found for answer in answers) else 1


def _pairs(
    sources: Sequence[PolicyEnd], ends: Sequence[PolicyEnd], spoken: Sequence[str]
) -> list[tuple[PolicyEnd, PolicyEnd]]:
    """The ends that reach each other: those of one family, which is among those that a Service speaks, if any are."""
    return [
        (source, end)
        for source in sources
        for end in ends
        if (family := family_of(end.address)) is family_of(source.address)
        and (not spoken or family.name in spoken)
    ]


_Ports = list[tuple[int, str]]


def _destinations(
    options: argparse.Namespace,
    there: Policies,
    asked: tuple[str, int | None, str],
    namespace: str,
    service: Raw | None,
) -> list[tuple[list[PolicyEnd], _Ports]]:
    """Where the flows lead that are asked about, each with its ports."""
    from emulab.cli.policyends import endpoints_of

    target, port, protocol = asked
    if service is not None and not service["spec"].get("selector"):
        return endpoints_of(options.lab, there, service, target, port, protocol)
    found = _ends(options, there, target, namespace)
    if _is_address(target) or target.startswith(_NODES):
        for end in found[0][0]:
            _translated(options, end.address, port, protocol)
    return [(ends, _ports(pod, service, target, port, protocol)) for ends, pod in found]


class _Answer(NamedTuple):
    """What is said of one flow."""

    source: PolicyEnd
    destination: PolicyEnd
    port: int
    protocol: str
    verdict: FlowVerdict

    @property
    def about(self) -> object:
        """What is said of it without its addresses."""
        return self.verdict.allows, *self.reasons("", "")

    def reasons(self, source: str, destination: str) -> list[tuple[str, str]]:
        from emulab.toolbox.policies import reasons

        return reasons(self.verdict, source, destination)

    def plain(self) -> dict[str, Any]:
        ends = _named(self.source), _named(self.destination)
        flow = {"source": ends[0], "destination": ends[1], "port": self.port, "protocol": self.protocol}
        return {**flow, "allowed": self.verdict.allows, "reasons": dict(self.reasons(*ends))}

    def text(self) -> str:
        ends = _named(self.source), _named(self.destination)
        said = "allowed" if self.verdict.allows else "denied"
        head = f"{ends[0]} → {ends[1]} port {self.port}/{self.protocol}: {said}"
        return "\n".join([head, *(f"  {name:<8} {why}" for name, why in self.reasons(*ends))])


def _split(text: str) -> tuple[str, int | None, str]:
    """A destination's name, port and protocol."""
    if _is_address(text.strip("[]")):
        return text.strip("[]"), None, _PROTOCOLS[0]
    name, colon, port = text.rpartition(":")
    if not colon:
        return text, None, _PROTOCOLS[0]
    if not name:
        raise UsageError(f"{text}: has a port and nobody who has it: NAME{text}")
    number, slash, protocol = port.partition("/")
    if slash and protocol.lower() not in _PROTOCOLS:
        raise UsageError(f"{text}: {protocol!r} is no protocol that policies know: tcp, udp or sctp")
    try:
        return name.strip("[]"), _port(number), protocol.lower() or _PROTOCOLS[0]
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{text}: {error}") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _ends(
    options: argparse.Namespace, there: Policies, text: str, namespace: str
) -> list[tuple[list[PolicyEnd], Raw | None]]:
    """Who is meant: the pods behind a Service, one of a workload's, or whoever has an address; with the Pod. An end is
    there for each family that it speaks."""
    from emulab.cli.pods import choose
    from emulab.cli.policyends import check_place
    from emulab.kinds.registry import SERVICE
    from emulab.lab.client.client import connect

    if _is_address(text):
        return [([there.end(ip_address(text))], None)]
    if text.startswith(_NODES):
        return [(_ends_of_node(there, text.partition("/")[2]), None)]
    name, namespace = _placed(there, text, namespace)
    with connect(options.lab) as client:
        try:
            chosen = choose(client, name, namespace)
        except ServerRefusal:
            check_place(client, name)
            raise
    raw = chosen.pods if chosen.kind == SERVICE else chosen.pods[:1]
    found: list[tuple[list[PolicyEnd], Raw | None]] = [
        (ends, one) for one in raw if (ends := there.ends_of(one))
    ]
    if not found:
        raise UserError(f"{text}: has no address, as it doesn't run yet or has ended")
    return found


def _placed(there: Policies, text: str, namespace: str) -> tuple[str, str]:
    """A name and its Namespace: NAMESPACE/POD, as the matrix has it, where no kind is called so."""
    from emulab.kinds.registry import KINDS

    first, _, name = text.partition("/")
    if name and KINDS.named(first) is None and first in there.scene.namespaces:
        return name, first
    return text, namespace


def _ends_of_node(there: Policies, name: str) -> list[PolicyEnd]:
    from emulab.cli.kinds import Reference, not_found
    from emulab.kinds.registry import NODE

    node = there.scene.nodes.get(name)
    if node is None:
        raise ServerRefusal(not_found(Reference(NODE, name)))
    return [there.end(address) for address in node.addresses]


def _service(options: argparse.Namespace, target: str, namespace: str) -> Raw:
    from emulab.cli.kinds import Reference, not_found
    from emulab.cli.selection import fetch
    from emulab.kinds.registry import SERVICE
    from emulab.lab.client.client import connect

    reference = Reference(SERVICE, target.partition("/")[2])
    with connect(options.lab) as client:
        found = fetch(client, reference, namespace)
    if not found:
        raise ServerRefusal(not_found(reference))
    return found[0]


def _translated(
    options: argparse.Namespace, address: IPv4Address | IPv6Address, port: int | None, protocol: str
) -> None:
    """Refuses what kube-proxy translates before any policy is asked: addresses of Services, and node ports."""
    from emulab.cli.kinds import Reference
    from emulab.cli.selection import EVERY_NAMESPACE, fetch
    from emulab.kinds.emulab.proxymodes import USERSPACE, proxy_mode_of
    from emulab.kinds.registry import CLUSTER, NODE, SERVICE
    from emulab.lab.client.client import connect

    with connect(options.lab) as client:
        services, nodes = (fetch(client, Reference(kind, ""), EVERY_NAMESPACE) for kind in (SERVICE, NODE))
        clusters = fetch(client, Reference(CLUSTER, ""), EVERY_NAMESPACE)
    why = "translated before policies are asked"
    if any(proxy_mode_of(cluster["spec"]) == USERSPACE for cluster in clusters):
        why = "a node's proxy gets what is sent there, whatever policies say"
    of_node = any(
        ip_address(one["address"]) == address
        for node in nodes
        for one in node["status"].get("addresses") or ()
        if one["type"] != "Hostname"
    )
    for service in services:
        spec, name = service["spec"], service["metadata"]["name"]
        given = [*(spec.get("clusterIPs") or ()), *(spec.get("externalIPs") or ())]
        outside = (service.get("status") or {}).get("loadBalancer") or {}
        given += [one["ip"] for one in outside.get("ingress") or () if one.get("ipMode", "VIP") == "VIP"]
        own = any(ip_address(text) == address for text in given if text != "None")
        for one in spec.get("ports") or ():
            asked = (one.get("protocol") or "TCP").lower() == protocol and port is not None
            number = one.get("nodePort")
            if (own and asked and one["port"] == port) or (of_node and asked and number == port):
                told = f"{address} port {port} is Service {service['metadata']['namespace']}/{name}'s"
                raise UsageError(f"{told}, and {why}: ask for svc/{name}")


def _ports(
    pod: Raw | None, service: Raw | None, target: str, port: int | None, protocol: str
) -> list[tuple[int, str]]:
    """The port that is asked about, or those that the destination has."""
    if pod is not None and service is not None:
        return _target_ports(service, target, pod, port, protocol)
    if port is not None:
        return [(port, protocol)]
    if pod is None:
        example = f"[{target}]:80" if ":" in target else f"{target}:80"
        what = "a node" if target.startswith(_NODES) else "an address"
        raise UsageError(f"{target}: {what} needs a port: {example}")
    spec = pod["spec"]
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    containers = [*(spec.get("containers") or ()), *sidecars]
    ports = [one for container in containers for one in container.get("ports") or ()]
    if not ports:
        raise UsageError(f"{target}: says no ports of its own, so one is needed: {target}:80")
    return [(one["containerPort"], (one.get("protocol") or "TCP").lower()) for one in ports]


def _target_ports(
    service: Raw, target: str, pod: Raw, port: int | None, protocol: str
) -> list[tuple[int, str]]:
    """Where the ports of a Service lead, as policies see a flow when kube-proxy has translated it."""
    from emulab.model.objects import Object
    from emulab.plan.policies.facts import named_ports

    names, found = {(name, proto): number for name, proto, number in named_ports(Object(pod))}, []
    for one in service["spec"].get("ports") or ():
        own = (one.get("protocol") or "TCP").lower()
        if port is None or (one["port"], own) == (port, protocol):
            headless = service["spec"].get("clusterIP") == "None"  # nobody translates its port
            number = one["port"] if headless else one.get("targetPort") or one["port"]
            found.append((names.get((number, own)) if isinstance(number, str) else number, own))
    if not found:
        raise UserError(f"{target} has no port {port}/{protocol}" if port else f"{target} has no ports")
    return [(number, own) for number, own in found if number is not None]


def _named(end: PolicyEnd) -> str:
    if end.pod is not None:
        return f"pod {end.pod} ({end.address})"
    return f"node {end.node} ({end.address})" if end.node else str(end.address)


_ACTIONS = {"check": _check, "matrix": matrix}
