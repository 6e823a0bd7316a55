"""The table of all pods, who may reach whom: `emulab policy matrix`."""

from __future__ import annotations

import argparse
import asyncio
import resource
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.cli.usage import UsageError
from emulab.model.families import Family
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from emulab.plan.policies.facts import PolicyPod
    from emulab.python import Lab


def matrix(options: argparse.Namespace) -> int:
    """Prints it; the exit status is 1 where packets disagree."""
    from emulab.python import Lab

    if options.ends:
        raise UsageError("policy matrix takes no SOURCE and no DESTINATION")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection at once is a file
    return asyncio.run(_matrix_of(options, Lab([], name=options.lab)))


async def _matrix_of(options: argparse.Namespace, lab: Lab) -> int:
    from emulab.toolbox.policies import families_of, policies_of
    from emulab.toolbox.probing import ProbedFlow, probe, probe_again

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
        ProbedFlow(one, other, ports[other.namespace, other.name], family)
        for one in pods
        for other in pods
        if one is not other
        for family in families_of(one, other)
    ]
    judged = [there.allows(*flow) for flow in flows]
    sent: list[bool] | list[None] = [None] * len(flows)
    if options.probe:
        sent = await probe_again(lab, flows, judged, await probe(lab, flows))
    cells: dict[tuple[str, str], list[_Cell]] = {}
    for flow, allowed, passed in zip(flows, judged, sent, strict=True):
        pair = str(flow.source), str(flow.destination)
        cells.setdefault(pair, []).append(_Cell(flow.family, allowed, passed))
    _print_matrix(options, pods, ports, cells)
    return 1 if any(cell.is_wrong for row in cells.values() for cell in row) else 0


class _Cell(NamedTuple):
    """What is said of a pair of pods in one family, and what packets say."""

    family: Family
    allowed: bool
    passed: bool | None = None

    @property
    def is_wrong(self) -> bool:
        return self.passed is not None and self.passed is not self.allowed


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
    cells: dict[tuple[str, str], list[_Cell]],
) -> None:
    from emulab.cli.output.table import table

    if options.output == "json":
        print(as_json([_plain(*pair, row) for pair, row in cells.items()]))
        return
    if not pods:
        print("there are no pods that policies could be about")
        return
    header = ["", "FROM \\ TO", *(str(number) for number, _ in enumerate(pods, 1))]
    rows = [
        [str(number), f"{one}:{ports[one.namespace, one.name]}"]
        + [_sign(cells.get((str(one), str(other)), [])) for other in pods]
        for number, one in enumerate(pods, 1)
    ]
    print(table(header, rows))
    parted = any(len({cell.allowed for cell in row}) > 1 for row in cells.values())
    by_one = ", 4 or 6 allowed by that family alone" if parted else ""
    print(f"\n+ allowed, - denied{by_one}{', ! packets disagree' if options.probe else ''}")
    wrong = [(pair, cell) for pair, row in cells.items() for cell in row if cell.is_wrong]
    for (one_name, other_name), cell in wrong:
        expected = "allowed" if cell.allowed else "denied"
        flow = f"pod {one_name} → pod {other_name} ({cell.family})"
        print(f"{flow}: {expected} by the policies, and packets say otherwise")
    if options.probe and not wrong:
        print(f"{sum(map(len, cells.values()))} probes agree")


def _sign(row: list[_Cell]) -> str:
    if not row:
        return "."
    allowed = [cell for cell in row if cell.allowed]
    if any(cell.is_wrong for cell in row):
        return "!"
    if not allowed:
        return "-"
    return "+" if len(allowed) == len(row) else str(allowed[0].family.version)


def _plain(source: str, destination: str, row: list[_Cell]) -> dict[str, Any]:
    """For programs; by family where there are two."""
    told: dict[str, Any] = {"source": source, "destination": destination}
    told["allowed"] = all(cell.allowed for cell in row)
    if row[0].passed is not None:
        told["passed"] = all(cell.passed for cell in row)
    if len(row) > 1:
        told["families"] = {
            cell.family.name: {"allowed": cell.allowed}
            | ({} if cell.passed is None else {"passed": cell.passed})
            for cell in row
        }
    return told
