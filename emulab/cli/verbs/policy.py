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
    from emulab.plan.policies.facts import PolicyPod
    from emulab.plan.policies.verdicts import PolicyEnd
    from emulab.python import Lab
    from emulab.toolbox.policies import Policies, ProbedFlow

_PROTOCOLS = ("tcp", "udp", "sctp")


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
    add("--port", type=int, metavar="PORT", help="of matrix: this TCP port instead of each pod's first one")
    add_output(parser, "json")


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
    source = _ends(options, there, source_text, options.namespace)[0]
    found = []
    for end in _ends(options, there, target, options.to_namespace or options.namespace):
        for number, proto in _ports(options, end, target, port, protocol):
            judged = there.verdict(source, end, proto, number)
            ends = _named(source), _named(end)
            found.append((*ends, number, proto, judged.allows, reasons(judged, *ends)))
    if options.output == "json":
        keys = ("source", "destination", "port", "protocol", "allowed", "reasons")
        shown = [dict(zip(keys, (*one[:5], dict(one[5])), strict=True)) for one in found]
        print(as_json(shown))
    else:
        for one, other, number, proto, allowed, why in found:
            print(f"{one} → {other} port {number}/{proto}: {'allowed' if allowed else 'denied'}")
            for direction, text in why:
                print(f"  {direction:<8} {text}")
    return 0 if all(one[4] for one in found) else 1


def _split(text: str) -> tuple[str, int | None, str]:
    """A destination's name, port and protocol."""
    rest, slash, protocol = text.rpartition("/")
    if not slash or protocol.lower() not in _PROTOCOLS:
        rest, protocol = text, "tcp"
    name, colon, port = rest.rpartition(":")
    if colon and port.isdigit() and not name.endswith(":") and not _is_address(rest):
        return name.strip("[]"), int(port), protocol.lower()
    return rest.strip("[]"), None, protocol.lower()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _ends(options: argparse.Namespace, there: Policies, text: str, namespace: str) -> list[PolicyEnd]:
    """Who is meant: the pods behind a Service, one of a workload's, or whoever has an address."""
    from emulab.cli.pods import choose
    from emulab.kinds.registry import SERVICE
    from emulab.lab.client.client import connect

    if _is_address(text):
        return [there.end(ip_address(text))]
    with connect(options.lab) as client:
        chosen = choose(client, text, namespace)
    raw = chosen.pods if chosen.kind == SERVICE else chosen.pods[:1]
    pods = [there.pod(one["metadata"]["namespace"], one["metadata"]["name"]) for one in raw]
    found = [there.end(pod.addresses[0]) for pod in pods if pod is not None]
    if not found:
        why = "it has no address, or its node's, and NetworkPolicies are about neither"
        raise UserError(f"{text}: {why}")
    return found


def _ports(
    options: argparse.Namespace, end: PolicyEnd, target: str, port: int | None, protocol: str
) -> list[tuple[int, str]]:
    """The port that is asked about, or those that the destination has."""
    from emulab.lab.client.client import connect

    if port is not None and not target.startswith(("svc/", "service/", "services/")):
        return [(port, protocol)]
    pod = end.pod
    if pod is None:
        raise UsageError(f"{target}: a port is needed: {target}:80")
    with connect(options.lab) as client:
        if target.startswith(("svc/", "service/", "services/")):
            return _target_ports(client, options, target, pod, port, protocol)
        return _own_ports(client, target, pod)


def _own_ports(client: Any, target: str, pod: PolicyPod) -> list[tuple[int, str]]:
    from emulab.cli.kinds import Reference
    from emulab.cli.selection import fetch
    from emulab.kinds.registry import POD

    [raw] = fetch(client, Reference(POD, pod.name), pod.namespace)
    ports = [port for c in raw["spec"].get("containers") or () for port in c.get("ports") or ()]
    if not ports:
        raise UsageError(f"{target}: says no ports of its own, so one is needed: {target}:80")
    return [(port["containerPort"], (port.get("protocol") or "TCP").lower()) for port in ports]


def _target_ports(
    client: Any, options: argparse.Namespace, target: str, pod: PolicyPod, port: int | None, protocol: str
) -> list[tuple[int, str]]:
    """Where the ports of a Service lead, as policies see a flow when kube-proxy has translated it."""
    from emulab.cli.kinds import Reference
    from emulab.cli.selection import fetch
    from emulab.kinds.registry import SERVICE

    namespace = options.to_namespace or options.namespace
    [service] = fetch(client, Reference(SERVICE, target.partition("/")[2]), namespace)
    found = []
    for one in service["spec"].get("ports") or ():
        own = (one.get("protocol") or "TCP").lower()
        if port is not None and (one["port"], own) != (port, protocol):
            continue
        number = one.get("targetPort") or one["port"]
        number = pod.port(own, number) if isinstance(number, str) else number
        if number is not None:
            found.append((number, own))
    if not found:
        raise UserError(f"{target} has no port {port}/{protocol}" if port else f"{target} has no ports")
    return found


def _named(end: PolicyEnd) -> str:
    return f"pod {end.pod} ({end.address})" if end.pod is not None else str(end.address)


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
        for p in there.scene.pods
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
