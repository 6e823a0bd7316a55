"""`emulab policy`: who may reach whom by the NetworkPolicies, and whether packets agree."""

from __future__ import annotations

import argparse
import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from emulab.cli.usage import UsageError, add_namespace, add_output
from emulab.errors import UserError
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from emulab.kinds.cells import Raw
    from emulab.plan.policies.facts import PolicyPod
    from emulab.plan.policies.verdicts import PolicyEnd
    from emulab.python import Lab
    from emulab.toolbox.policies import Policies, ProbedFlow

_PROTOCOLS = ("tcp", "udp", "sctp")
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
        help="of check: POD, deploy/NAME, svc/NAME or an address; the destination with a port, or else each of its own",
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
    from emulab.toolbox.policies import policies_of, reasons

    if len(options.ends) != 2:
        raise UsageError("policy check takes a SOURCE and a DESTINATION[:PORT[/PROTOCOL]]")
    source_text, (target, port, protocol) = options.ends[0], _split(options.ends[1])
    there = asyncio.run(policies_of(Lab([], name=options.lab)))
    source = _ends(options, there, source_text, options.namespace)[0][0]
    if source.node and not _is_address(source_text):
        shown = f"`emulab exec {source.node} -- ip route get ADDRESS` shows it"
        told = f"{source_text}: sends from an address of its node's, which the way decides"
        raise UsageError(f"{told}: ask for that; {shown}")
    found = []
    for end, pod in _ends(options, there, target, options.to_namespace or options.namespace):
        for number, proto in _ports(options, pod, target, port, protocol):
            judged = there.verdict(source, end, proto, number, target.startswith(_SERVICES))
            ends = _named(source), _named(end)
            found.append((*ends, number, proto, judged.allows, reasons(judged, *ends)))
    if not found:
        raise UserError(f"{target}: none of its pods has the port that it names")
    if options.output == "json":
        keys = ("source", "destination", "port", "protocol", "allowed", "reasons")
        print(as_json([dict(zip(keys, (*one[:5], dict(one[5])), strict=True)) for one in found]))
    else:
        for one, other, number, proto, allowed, why in found:
            print(f"{one} → {other} port {number}/{proto}: {'allowed' if allowed else 'denied'}")
            for direction, text in why:
                print(f"  {direction:<8} {text}")
    return 0 if all(one[4] for one in found) else 1


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
) -> list[tuple[PolicyEnd, Raw | None]]:
    """Who is meant: the pods behind a Service, one of a workload's, or whoever has an address; with the Pod."""
    from emulab.cli.pods import choose
    from emulab.kinds.registry import SERVICE
    from emulab.lab.client.client import connect

    if _is_address(text):
        return [(there.end(ip_address(text)), None)]
    with connect(options.lab) as client:
        chosen = choose(client, text, namespace)
    raw = chosen.pods if chosen.kind == SERVICE else chosen.pods[:1]
    found: list[tuple[PolicyEnd, Raw | None]] = [
        (end, one) for one in raw if (end := there.end_of(one)) is not None
    ]
    if not found:
        raise UserError(f"{text}: has no address, as it doesn't run yet or has ended")
    return found


def _ports(
    options: argparse.Namespace, pod: Raw | None, target: str, port: int | None, protocol: str
) -> list[tuple[int, str]]:
    """The port that is asked about, or those that the destination has."""
    if pod is not None and target.startswith(_SERVICES):
        return _target_ports(options, target, pod, port, protocol)
    if port is not None:
        return [(port, protocol)]
    if pod is None:
        example = f"[{target}]:80" if ":" in target else f"{target}:80"
        raise UsageError(f"{target}: an address needs a port: {example}")
    containers = pod["spec"].get("containers") or ()
    ports = [one for container in containers for one in container.get("ports") or ()]
    if not ports:
        raise UsageError(f"{target}: says no ports of its own, so one is needed: {target}:80")
    return [(one["containerPort"], (one.get("protocol") or "TCP").lower()) for one in ports]


def _target_ports(
    options: argparse.Namespace, target: str, pod: Raw, port: int | None, protocol: str
) -> list[tuple[int, str]]:
    """Where the ports of a Service lead, as policies see a flow when kube-proxy has translated it."""
    from emulab.cli.kinds import Reference
    from emulab.cli.selection import fetch
    from emulab.kinds.registry import SERVICE
    from emulab.lab.client.client import connect
    from emulab.model.objects import Object
    from emulab.plan.policies.facts import named_ports

    with connect(options.lab) as client:
        reference = Reference(SERVICE, target.partition("/")[2])
        [service] = fetch(client, reference, options.to_namespace or options.namespace)
    names, found = {(name, proto): number for name, proto, number in named_ports(Object(pod))}, []
    for one in service["spec"].get("ports") or ():
        own = (one.get("protocol") or "TCP").lower()
        if port is None or (one["port"], own) == (port, protocol):
            number = one.get("targetPort") or one["port"]
            found.append((names.get((number, own)) if isinstance(number, str) else number, own))
    if not found:
        raise UserError(f"{target} has no port {port}/{protocol}" if port else f"{target} has no ports")
    return [(number, own) for number, own in found if number is not None]


def _named(end: PolicyEnd) -> str:
    if end.pod is not None:
        return f"pod {end.pod} ({end.address})"
    return f"node {end.node} ({end.address})" if end.node else str(end.address)


# --- matrix -----------------------------------------------------------------------------------------------------


def _matrix(options: argparse.Namespace) -> int:
    from emulab.python import Lab

    if options.ends:
        raise UsageError("policy matrix takes no SOURCE and no DESTINATION")
    return asyncio.run(_matrix_of(options, Lab([], name=options.lab)))


async def _matrix_of(options: argparse.Namespace, lab: Lab) -> int:
    from emulab.toolbox.policies import ProbedFlow, policies_of, probe, shared_addresses

    there = await policies_of(lab)
    ports = {
        (raw["metadata"]["namespace"], raw["metadata"]["name"]): options.port or _first_port(raw)
        for raw in await lab.get("Pod")
        if options.probe is False or (raw.get("status") or {}).get("phase") == "Running"
    }
    wanted = options.enforced_namespace
    pods = [
        p
        for p in sorted(there.scene.pods, key=lambda one: (one.namespace, one.name))
        if (p.namespace, p.name) in ports
        and (p.namespace == wanted if wanted else p.namespace not in ("kube-system", "ingress-nginx"))
    ]
    flows = [
        ProbedFlow(one, other, ports[other.namespace, other.name])
        for one in pods
        for other in pods
        if one is not other and shared_addresses(one, other)
    ]
    judged = {flow[:2]: _allows(there, flow) for flow in map(_by_name, flows)}
    sent = {}
    if options.probe:
        sent = dict(zip((_by_name(f)[:2] for f in flows), await probe(lab, flows), strict=True))
    wrong = [names for names, passed in sent.items() if passed != judged[names]]
    _print_matrix(options, pods, ports, judged, sent, wrong)
    return 1 if wrong else 0


def _by_name(flow: ProbedFlow) -> tuple[str, str, ProbedFlow]:
    return str(flow.source), str(flow.destination), flow


def _allows(there: Policies, named: tuple[str, str, ProbedFlow]) -> bool:
    from emulab.toolbox.policies import shared_addresses

    flow = named[2]
    addresses = shared_addresses(flow.source, flow.destination)
    assert addresses is not None
    return there.verdict(there.end(addresses[0]), there.end(addresses[1]), "tcp", flow.port).allows


def _first_port(raw: dict[str, Any]) -> int:
    for container in raw["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if (port.get("protocol") or "TCP") == "TCP":
                return int(port["containerPort"])
    return 80


def _print_matrix(
    options: argparse.Namespace,
    pods: list[PolicyPod],
    ports: dict[tuple[str, str], int],
    judged: dict[tuple[str, str], bool],
    sent: dict[tuple[str, str], bool],
    wrong: list[tuple[str, str]],
) -> None:
    from emulab.cli.output.table import table

    if options.output == "json":
        shown = [
            {"source": one, "destination": other, "allowed": allowed}
            | ({"passed": sent[one, other]} if (one, other) in sent else {})
            for (one, other), allowed in judged.items()
        ]
        print(as_json(shown))
        return
    if not pods:
        print("there are no pods that NetworkPolicies could be about")
        return
    header = ["", "FROM \\ TO", *(str(number) for number, _ in enumerate(pods, 1))]
    rows = []
    for number, one in enumerate(pods, 1):
        cells = [_cell(str(one), str(other), judged, wrong) for other in pods]
        port = ports[one.namespace, one.name]
        rows.append([str(number), f"{one}:{port}", *cells])
    print(table(header, rows))
    print("\n+ allowed, - denied" + (", ! packets disagree" if options.probe else ""))
    for one_name, other_name in wrong:
        expected = "allowed" if judged[one_name, other_name] else "denied"
        print(f"pod {one_name} → pod {other_name}: {expected} by the policies, and packets say otherwise")
    if options.probe and not wrong:
        print(f"{len(sent)} probes agree")


def _cell(one: str, other: str, judged: dict[tuple[str, str], bool], wrong: list[tuple[str, str]]) -> str:
    if (one, other) not in judged:
        return "."
    return "!" if (one, other) in wrong else "+" if judged[one, other] else "-"


_ACTIONS = {"check": _check, "matrix": _matrix}
