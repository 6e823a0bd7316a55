"""`emulab compare`: the same lab in several proxy modes, with several ingresses or balancers, and what differs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emulab.cli import manifests
from emulab.cli.building import DEFAULT_TIMEOUT
from emulab.cli.output.progress import progress
from emulab.cli.usage import (
    UsageError,
    add_given,
    add_namespace,
    add_output,
    add_validate,
    duration,
    given,
    natural,
)
from emulab.errors import UserError
from emulab.observe.telling.escapes import as_json
from emulab.observe.telling.texts import columns

if TYPE_CHECKING:
    from emulab.model.collection import Objects
    from emulab.twins.asks import Ask
    from emulab.twins.axes import Axis

CONNECTIONS, LEAST = 40, 10
PATIENCE = 2.0

EPILOG = """\
A request is [SOURCE=]TARGET. SOURCE is a place, pod/NAME or deploy/NAME (default: client); TARGET is a URL,
HOST:PORT for TCP or HOST:PORT/udp. For example:

  emulab compare --proxy nftables,iptables topologies/shop.yaml
  emulab compare --ingress builtin,nginx,haproxy topologies/shop.yaml
  emulab compare --balancer builtin,haproxy topologies/loadbalancer-service.yaml
  emulab compare --proxy nftables,userspace shop.yaml -- http://shop.example.com/ node1=10.96.0.10:53/udp

Without requests, all that the manifests suggest are sent: every way to every Service port, every Ingress path; of
ingresses the latter, of balancers what goes by one.
Exit status 1: behaviour differs, and not as it is known to. Speed and numbers of rules are told, not judged.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab compare [-l LAB] --proxy MODE,MODE[,…] | --ingress ENGINE,ENGINE[,…] |\n"
        "                      --balancer ENGINE,ENGINE[,…] [-n NS] [--connections N] [--wait TIME] [--timeout TIME]\n"
        "                      [-o json] FILE… [-- [SOURCE=]URL | [SOURCE=]HOST:PORT[/udp] …]"
    )
    from emulab.kinds.emulab.balancing import BALANCER_ENGINES
    from emulab.kinds.emulab.cluster import MODES
    from emulab.kinds.images import ENGINES

    parser.epilog = EPILOG
    add_given(parser, required=True)
    axis = parser.add_mutually_exclusive_group(required=True)
    axis.add_argument(
        *("--proxy",), metavar="MODES", help=f"the modes, with commas: {', '.join(MODES['proxy.mode'])}"
    )
    axis.add_argument(
        *("--ingress",),
        metavar="ENGINES",
        help=f"what serves as the ingress, with commas: {', '.join(ENGINES)}",
    )
    axis.add_argument(
        *("--balancer",),
        metavar="ENGINES",
        help=f"what serves as balancers, with commas: {', '.join(BALANCER_ENGINES)}",
    )
    add_namespace(parser)
    parser.add_argument(
        *("--connections",),
        type=natural,
        default=CONNECTIONS,
        metavar="N",
        help=f"connections for each request that is answered, {LEAST} at least (default: {CONNECTIONS})",
    )
    parser.add_argument(
        *("--wait",),
        type=duration,
        default=PATIENCE,
        metavar="TIME",
        help="how long a request waits for its answer (default: 2s)",
    )
    parser.add_argument(
        *("--timeout",),
        type=duration,
        default=DEFAULT_TIMEOUT,
        metavar="TIME",
        help="how long to wait until every lab is Ready (default: 60s)",
    )
    add_validate(parser)
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    from emulab.twins.sampling import MOST

    axis, modes = _axis(options)
    if options.connections < LEAST:
        raise UsageError(f"--connections must be {LEAST} or more: fewer can't tell chance from behaviour")
    if options.connections > MOST:
        raise UsageError(f"--connections must be {MOST} or less")
    if options.wait <= 0:
        raise UsageError("--wait must be longer than 0")
    given_asks = _asks(options.command, options.namespace)
    sources = manifests.read(given(options))

    import asyncio  # here, not above: --help needs nothing of it

    from emulab.cli.output import comparison
    from emulab.cluster.admission.loader import load
    from emulab.lab.offline import offline_world
    from emulab.model.sources import Source
    from emulab.twins import comparing, running
    from emulab.twins.deriving import derive

    manifest = load(sources, validation=options.validate)
    _check_possible(axis, modes)
    manifests.warn_of(manifest.warnings, manifest.notes, options.strict)
    objects, _ = offline_world([Source("manifests", running.manifest(manifest.objects, axis, modes[0]))])
    asks = given_asks or [one for one in derive(objects) if not axis.asks or one.what in axis.asks]
    if not asks:
        missing = "no Service and no Ingress" if not axis.asks else f"no {' and no '.join(sorted(axis.asks))}"
        raise UserError(f"there is nothing to ask: {missing}; name requests after --")
    _check_sources(asks, objects)
    with progress("compare") as tell:
        outcome = asyncio.run(
            running.run(
                running.Plan(
                    axis=axis,
                    modes=modes,
                    given=manifest.objects,
                    objects=objects,
                    asks=asks,
                    name=options.lab_given or f"compare-{os.getpid()}",
                    connections=options.connections,
                    patience=options.wait,
                    timeout=options.timeout,
                    tell=tell,
                )
            )
        )
    if options.output == "json":
        print(as_json(comparison.as_data(outcome, modes, options.connections), indent=2))
    else:
        print(comparison.render(outcome, modes, options.connections, columns()))
    return 1 if comparing.behaviour(outcome.compared) == "different" else 0


def _axis(options: argparse.Namespace) -> tuple[Axis, list[str]]:
    """What is compared, and the values that are named, each once. Raises UsageError."""
    from emulab.twins.axes import AXES

    axis, text = next((one, given) for one in AXES if (given := getattr(options, one.option)) is not None)
    said, word, known = f"--{axis.option} {text}", axis.word, axis.values
    values = [word.strip() for word in text.split(",")]
    for value in values:
        if value not in known:
            raise UsageError(f"{said}: there is no {word} {value!r}; the {word}s are {', '.join(known)}")
    if len(set(values)) < len(values):
        raise UsageError(f"{said}: a{'n' if word[0] in 'aeiou' else ''} {word} is named twice")
    if len(values) < 2:
        raise UsageError(f"{said}: one {word} can't be compared; write two or more, with commas")
    return axis, values


def _asks(texts: Sequence[str], namespace: str) -> list[Ask]:
    """The requests that are given. Raises UsageError."""
    from emulab.twins.asks import ask

    try:
        return list(dict.fromkeys(ask(text, namespace) for text in texts))
    except UserError as error:
        raise UsageError(str(error)) from None


def _check_possible(axis: Axis, modes: Sequence[str]) -> None:
    """Raises UserError when this kernel lacks a mode, before anything is built. What lacks a program says so itself."""
    if axis.option != "proxy":
        return
    from emulab.kernel import probe
    from emulab.lab.folders import rundir
    from emulab.plan.proxy.modes import MODES

    found = probe.features(rundir.base())
    possible = probe.proxy_modes(found)
    for mode in modes:
        if not possible[mode]:
            needs = MODES[mode].needs
            check = next((c for c in found if c.problem and (c.name in needs or c.required)), None)
            why = f": {check.problem}; mend: {check.remedy}" if check else "; see emulab doctor"
            raise UserError(f"proxy mode {mode} is not possible here{why}")


def _check_sources(asks: Sequence[Ask], objects: Objects) -> None:
    """Raises UserError for a request from a pod or place that no lab will have."""
    from emulab.twins.asks import missing_source

    for ask in asks:
        missing = missing_source(ask, objects)
        if missing:
            raise UserError(f"{ask}: {missing}")
