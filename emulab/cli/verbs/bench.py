"""`emulab bench`: what each hop costs, what two Clusters differ in, and what a path carries."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulab.cli import manifests
from emulab.cli.building import DEFAULT_TIMEOUT
from emulab.cli.usage import UsageError, add_namespace, add_output, duration, natural
from emulab.errors import UserError
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from emulab.bench.outcome import BenchOutcome
    from emulab.bench.processors import ProcessorShares
    from emulab.bench.report import ReportTable
    from emulab.bench.rounds import TellProgress, TurnSchedule

QUICK = 20.0
"""Seconds of --quick, from the first to the last."""
_LIMITS = {"path": 120.0, "compare": 120.0, "overlay": 60.0, "load": 60.0}
_ENDING = 1.5  # seconds of these in which labs are taken down
_SHORT, _LONG = 0.02, 0.05  # seconds of each order: the shorter they are, the more rounds there are
_RATE, _CONNECTIONS = 500.0, 256
_MOST_RATE = 100_000.0
_LAST_ANSWERS = 5.0  # seconds
_OWN = {
    "only": "compare",
    "networks": "overlay",
    "rate": "load",
    "arrivals": "load",
    "connections": "load",
    "fresh": "load",
    "source": "load",
}
"""Whose an option is that isn't of all."""
_WORDS = {"source": "from"}

EPILOG = """\
  emulab bench path                                    # what each layer of a request's way adds
  emulab bench compare nftables.yaml iptables.yaml     # two files, each with a Cluster
  emulab bench load http://shop.example.com/ --rate 500 --for 60s
  emulab bench overlay --networks calico,kindnet --for 30s
  emulab bench overlay -o json > now.json; emulab bench overlay --baseline now.json

Labs of their own are built but by load, which loads one that is up. Exit status 1: something got worse than the
baseline, and noise doesn't explain it; or a request of load failed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab bench path [FILE…] | compare A B | overlay [FILE…] [--quick] [--for TIME] [--seed N] [--html FILE]\n"
        "                    [--baseline FILE] [--tolerance PERCENT] [-o json]\n"
        "       emulab bench load [-l LAB] URL [--rate N] [--for TIME] [--from TARGET] [-n NS]\n"
        "                    [--arrivals even|poisson] [--connections N] [--fresh] …"
    )
    parser.epilog = EPILOG
    _add_common(parser.add_argument)
    _add_particular(parser.add_argument)
    add_namespace(parser)
    parser.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="how long labs may take to get Ready; of load: how long the last answers may (default: 60s, load 5s)",
    )
    add_output(parser, "json")


def _add_common(add: Callable[..., object]) -> None:
    """What to measure, and the options of more than one action."""
    add("action", choices=_ACTIONS, metavar="|".join(_ACTIONS), help="what to measure")
    add("words", nargs="*", metavar="WORD", help="files with a Cluster, of compare two; of load the URL")
    add("--quick", action="store_true", help="take 20 seconds in all; intervals are wider")
    add(
        "--for",
        dest="limit",
        type=duration,
        metavar="TIME",
        help="how long to measure at most (default: 2m, overlay and load 1m)",
    )
    add("--seed", type=natural, default=0, metavar="N", help="draws the order of each round (default: 0)")
    add("--html", metavar="FILE", help="write a page with tables and plots, which needs no network")
    add(
        "--baseline",
        metavar="FILE",
        help="what an earlier run printed with -o json; status 1 when something got worse",
    )
    add("--tolerance", type=_percent, default=5.0, metavar="PERCENT", help="by how much it may (default: 5)")


def _add_particular(add: Callable[..., object]) -> None:
    """The options of one action alone (`_OWN`)."""
    add(
        "--networks",
        metavar="NAMES",
        help="of overlay: the networks of pods that are measured, with commas: plug-ins, as calico, or one mode of "
        "them, as calico-vxlan (default: all)",
    )
    add("--only", metavar="WAYS", help="of compare: the ways that are measured, with commas (default: all)")
    add(
        "--rate",
        type=_rate,
        metavar="N",
        help="of load: requests that are due each second (default: 500)",
    )
    add(
        "--arrivals",
        choices=("even", "poisson"),
        help="of load: how they are spread (default: even)",
    )
    add(
        "--connections",
        type=natural,
        metavar="N",
        help="of load: open ones at most (default: 256)",
    )
    add("--fresh", action="store_true", help="of load: a new connection for each request")
    add(
        "--from",
        dest="source",
        metavar="TARGET",
        help="of load: a place, pod/NAME, deploy/NAME or svc/NAME (default: client)",
    )


def _percent(text: str) -> float:
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 on")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _MOST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate above 0 and up to {_MOST_RATE:,.0f} a second")
    return value


def run(options: argparse.Namespace) -> int:
    if options.limit is not None and options.limit <= 0:
        raise UsageError("--for must be longer than 0")
    if options.limit is not None and options.quick:
        raise UsageError("--quick says how long: leave out --for")
    _refuse_others(options)
    if options.html and not Path(options.html).absolute().parent.is_dir():
        raise UserError(f"{options.html}: there is no such folder")
    old = _baseline(options)
    return _ACTIONS[options.action](options, old)


def _refuse_others(options: argparse.Namespace) -> None:
    """Raises UsageError for an option that would say nothing here."""
    given = {name: getattr(options, name) for name in _OWN} | {"namespace": options.enforced_namespace}
    for name, action in (_OWN | {"namespace": "load"}).items():
        if given[name] and options.action != action:
            raise UsageError(f"--{_WORDS.get(name, name)} is of bench {action} alone")
    if options.action != "load" and options.lab_given:
        raise UsageError(f"bench {options.action} builds labs of its own: leave out --lab")


def _baseline(options: argparse.Namespace) -> Mapping[str, Any] | None:
    """Read before anything is measured: who mistypes a name needn't wait."""
    if not options.baseline:
        return None
    from emulab.bench import baseline

    try:
        text = Path(options.baseline).read_text(errors="replace")
    except OSError as error:
        raise UserError(f"{options.baseline}: {error.strerror}") from None
    found = baseline.read(text, options.baseline)
    if found["benchmark"] != options.action:
        raise UserError(
            f"{options.baseline}: is of bench {found['benchmark']}, and this is bench {options.action}"
        )
    return found


def _schedule(options: argparse.Namespace, begun: float) -> TurnSchedule:
    from emulab.bench.rounds import TurnSchedule
    from emulab.bench.turns import TurnPace

    if options.quick:
        return TurnSchedule(_SHORT, TurnPace(least=1000), begun + QUICK - _ENDING)
    limit = options.limit or _LIMITS[options.action]
    return TurnSchedule(_SHORT if limit <= QUICK else _LONG, TurnPace(limit=limit))


def _given(
    files: Sequence[str], action: str = "", varied: Sequence[tuple[str, str]] = ()
) -> list[Mapping[str, Any]]:
    """The objects of files. Raises ManifestError, with file and line, and where a Cluster says what is varied."""
    from emulab.bench import worlds
    from emulab.cluster.admission.loader import load
    from emulab.kinds.registry import CLUSTER

    if not files:
        return []
    found = load(manifests.read(files))
    manifests.warn(found.warnings, found.notes)
    for o in found.objects:
        if o.type == CLUSTER:
            try:
                worlds.nodes(o.spec.get("nodes", 2))
            except UserError as error:
                raise UserError(f"{o.position}: {error}") from None
        for section, field in varied if o.type == CLUSTER else ():
            if field in (o.spec.get(section) or {}):
                raise UserError(
                    f"{o.position}: spec.{section}.{field}: bench {action} measures each of them; leave it out, or "
                    "use bench compare"
                )
    return [o.raw for o in found.objects]


def _by_turns(
    options: argparse.Namespace,
    old: Mapping[str, Any] | None,
    measure: Callable[[TurnSchedule, ProcessorShares, TellProgress], Any],
) -> int:
    """Measures, and tells what came of it."""
    import asyncio

    from emulab.bench import documents, html, report
    from emulab.bench.processors import pinned, shares
    from emulab.cli.output.benchmarks import bar

    begun = time.monotonic()
    found = shares(sorted(os.sched_getaffinity(0)))
    with pinned(found.labs), bar(f"bench {options.action}") as tell:
        outcome: BenchOutcome = asyncio.run(measure(_schedule(options, begun), found, tell))
    made, document = report.tables(outcome), documents.document(outcome)
    return _tell(options, made, document, outcome.machine, html.plots(outcome), old)


def _tell(
    options: argparse.Namespace,
    made: Sequence[ReportTable],
    document: dict[str, Any],
    about: str,
    plots: Sequence[tuple[str, str]],
    old: Mapping[str, Any] | None,
) -> int:
    """Prints, writes the page, and compares with the baseline: the exit status."""
    from emulab.bench import baseline, html
    from emulab.cli.output.benchmarks import shown

    worse, better = [], []
    if old is not None:
        found = baseline.changes(old, document, options.tolerance / 100)
        worse = [one.text for one in found if one.worse]
        better = [one.text for one in found if not one.worse]
        document["baseline"] = {"file": options.baseline, "worse": worse, "better": better}
    if options.html:
        try:
            Path(options.html).write_text(
                html.page(f"emulab bench {options.action}", about, plots, made, document), encoding="utf-8"
            )
        except OSError as error:
            raise UserError(f"{options.html}: {error.strerror}") from None
    if options.output == "json":
        print(as_json(document))
    else:
        print(shown(made, about))
        if old is not None:
            print(f"\nagainst {options.baseline}:")
            told = [f"  worse: {one}" for one in worse] + [f"  better: {one}" for one in better]
            print("\n".join(told) or f"  nothing got worse or better by more than {options.tolerance:g} %")
    return 1 if worse else 0


def _ready(options: argparse.Namespace) -> float:
    """Seconds that a lab may take."""
    return DEFAULT_TIMEOUT if options.timeout is None else float(options.timeout)


def _path(options: argparse.Namespace, old: Mapping[str, Any] | None) -> int:
    from emulab.bench import pathways

    given = _given(options.words, "path", pathways.VARIED)

    def measure(schedule: TurnSchedule, shares: ProcessorShares, tell: TellProgress) -> Any:
        return pathways.run(pathways.PathPlan(given, schedule, shares, options.seed, _ready(options), tell))

    return _by_turns(options, old, measure)


def _compare(options: argparse.Namespace, old: Mapping[str, Any] | None) -> int:
    from emulab.bench import versus

    if len(options.words) != 2:
        raise UsageError("bench compare takes two files, each with a Cluster")
    if len(set(options.words)) < 2:
        raise UsageError("bench compare takes two files, and these are one")
    ways = [way.strip() for way in options.only.split(",")] if options.only else list(versus.WAYS)
    if unknown := [way for way in ways if way not in versus.WAYS]:
        raise UsageError(f"--only: there is no way {unknown[0]!r}; the ways are {', '.join(versus.WAYS)}")
    given = {file: _given([file]) for file in options.words}

    def measure(schedule: TurnSchedule, shares: ProcessorShares, tell: TellProgress) -> Any:
        plan = versus.ComparePlan(given, schedule, shares, options.seed, _ready(options), tell, ways)
        return versus.run(plan)

    return _by_turns(options, old, measure)


def _overlay(options: argparse.Namespace, old: Mapping[str, Any] | None) -> int:
    from emulab.bench import overlays

    given = _given(options.words, "overlay", overlays.VARIED)
    names = [name.strip() for name in options.networks.split(",")] if options.networks else []
    try:
        overlays.chosen(names)
    except UserError as error:
        raise UsageError(f"--networks: {error}") from None

    def measure(schedule: TurnSchedule, shares: ProcessorShares, tell: TellProgress) -> Any:
        return overlays.run(
            overlays.OverlayPlan(given, schedule, shares, options.seed, _ready(options), tell, names)
        )

    return _by_turns(options, old, measure)


def _load(options: argparse.Namespace, old: Mapping[str, Any] | None) -> int:
    import asyncio

    from emulab.bench import documents, html, loading, report
    from emulab.bench.outcome import machine
    from emulab.bench.processors import shares
    from emulab.cli.output.benchmarks import bar

    if len(options.words) != 1:
        raise UsageError("bench load takes one URL")
    if options.connections == 0:
        raise UsageError("--connections is 1 at least")
    found = shares(sorted(os.sched_getaffinity(0)))
    seconds = 12.0 if options.quick else options.limit or _LIMITS["load"]
    with bar("bench load") as tell:
        plan = loading.LoadPlan(
            lab=options.lab,
            url=options.words[0],
            rate=options.rate or _RATE,
            seconds=seconds,
            source=options.source or "client",
            namespace=options.namespace,
            connections=options.connections or _CONNECTIONS,
            arrivals=options.arrivals or "even",
            seed=options.seed,
            fresh=options.fresh,
            wait=options.timeout or _LAST_ANSWERS,
            shares=found,
            tell=tell,
        )
        loaded = asyncio.run(loading.run(plan))
    about = machine(sorted(os.sched_getaffinity(0)), found.asking)
    document = documents.load_document(plan, loaded, about)
    made = report.load_tables(plan, loaded)
    status = _tell(options, made, document, f"{html.load_about(plan)}; {about}", html.load_plots(loaded), old)
    return 1 if loaded.failed else status


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, Mapping[str, Any] | None], int]] = {
    "path": _path,
    "compare": _compare,
    "load": _load,
    "overlay": _overlay,
}
