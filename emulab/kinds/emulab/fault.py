"""Faults: what is broken in a lab on purpose, from when, and for how long.

The library of what can be broken is `emulab.kinds.faults`. A Fault is put in and taken back as anything else is that
objects ask for; deleting it mends what it broke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.conntrack import seconds
from emulab.kinds.emulab.resolver import OWN_RESOLVER
from emulab.kinds.faults.effects import Harm
from emulab.kinds.faults.fault import FaultKind
from emulab.kinds.faults.options import problems, shown, values
from emulab.kinds.faults.scene import HOST_TARGET, RESOLVER_TARGET, SERVICE_TARGET, Scene, qualified
from emulab.kinds.faults.table import FAULTS
from emulab.kinds.kind import PLACE
from emulab.kinds.lookup import Lookup
from emulab.kinds.registry import FAULT, KINDS, NODE, RESOLVER
from emulab.model.checks import (
    Problems,
    at,
    boolean,
    dns_label,
    dns_subdomain,
    integer,
    mapping,
    show,
    string,
    wrong,
)
from emulab.model.findings import Finding
from emulab.model.suggestions import suggest

if TYPE_CHECKING:
    from emulab.model.objects import Object

PENDING, ACTIVE, MENDED = "Pending", "Active", "Mended"


class Fault(NamedTuple):
    name: str
    kind: FaultKind
    target: str  # as it was drawn, where the Fault names none
    options: dict[str, Any]
    at: int  # seconds after the Fault was made
    lasts: int  # seconds; 0 until it is mended
    seed: int
    hidden: bool
    phase: str
    began: float = 0.0  # Unix time; 0 until then

    @staticmethod
    def of(o: Object) -> Fault:
        spec, kind = o.spec, FAULTS[o.spec["fault"]]
        return Fault(
            o.name,
            kind,
            str(spec.get("target") or o.status.get("target") or ""),
            values(spec.get("set") or {}, kind.options),
            seconds(str(spec.get("at") or "0")) or 0,
            seconds(str(spec.get("for") or "0")) or 0,
            int(spec.get("seed") or 0),
            bool(spec.get("hidden")),
            str(o.status.get("phase") or PENDING),
            datetime.fromisoformat(began).timestamp() if (began := o.status.get("startTime")) else 0.0,
        )

    def effects(self, scene: Scene) -> tuple[Harm, ...]:
        """What it does while it is active."""
        return tuple(self.kind.effects(scene, self.target, self.options))

    @property
    def says(self) -> str:
        """What it is, in a sentence."""
        return self.kind.says.format(target=self.target, **shown(self.options, self.kind.options))


def at_work(faults: Iterable[Object], scene: Scene) -> Iterator[tuple[Fault, tuple[Harm, ...]]]:
    """The Faults that are active, with what they do."""
    for fault in map(Fault.of, faults):
        if fault.phase == ACTIVE:
            yield fault, fault.effects(scene)


def _duration(value: Any) -> Problems:
    if string(value):
        return string(value)
    return (
        () if seconds(value) is not None else wrong(f"{show(value)} is not a duration such as 30s or 1m30s")
    )


def _fault_name(value: Any) -> Problems:
    if string(value):
        return string(value)
    return () if value in FAULTS else wrong(f"there is no fault {show(value)}; {suggest(value, FAULTS)}")


def _target(value: Any) -> Problems:
    """A place, a zone, a host, or a Service as NAME or NAMESPACE/NAME."""
    if string(value):
        return string(value)
    namespace, slash, name = value.rpartition("/")
    return (dns_label(namespace) if slash else ()) or dns_subdomain(name)


def _options_fit(spec: dict[str, Any]) -> Problems:
    return at("set", problems(spec.get("set") or {}, FAULTS[spec["fault"]].options))


fault_spec = mapping(
    {
        "fault": _fault_name,
        "target": _target,
        "set": mapping({}),
        "at": _duration,
        "for": _duration,
        "seed": integer(0, (1 << 31) - 1, "a number"),
        "hidden": boolean,
    },
    required=("fault",),
    rules=(_options_fit,),
    closed=True,
)

_TIMES = ("phase", "target", "madeTime", "startTime", "endTime", "message")


def _outdated(old: Object, new: Object) -> tuple[str, ...]:
    """Another fault, or at another time, is one that begins anew."""
    return _TIMES if old.spec != new.spec else ()


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    fault = Fault.of(o)
    kind, wanted = fault.kind.target, str(o.spec.get("target") or "")
    if fault.kind.needs_overlay and not world.cluster.has_overlay:
        text = "it has no effect here: pods' networks have no overlay (spec.network of the Cluster)"
        yield Finding(o, ("spec", "fault"), text)
    if fault.kind.doubts is not None and (why := fault.kind.doubts(wanted, world)):
        yield Finding(o, ("spec", "fault"), why)
    mode, needed = world.cluster.proxy_mode, fault.kind.needs_mode
    if needed not in ("", mode):
        text = f"it has no effect here: kube-proxy's mode is {mode}, not {needed} (spec.proxy of the Cluster)"
        yield Finding(o, ("spec", "fault"), text)
    mode, needed = world.cluster.network_mode, fault.kind.needs_network
    if needed not in ("", mode):
        text = (
            f"it has no effect here: the network's mode is {mode}, not {needed} (spec.network of the Cluster)"
        )
        yield Finding(o, ("spec", "fault"), text)
    if not wanted:
        return
    names = {wanted, wanted.removesuffix("-2")}  # a balancer's second node is called after the balancer
    keys = [NODE.key("", name) for name in world.nodes]
    keys += [k.key("", name) for k in KINDS.of(PLACE) for name in sorted(names)]
    known = Scene.of_objects(found for key in keys if (found := world.get(key)) is not None).targets(kind)
    there = _THERE[kind](wanted, world) if kind in _THERE else wanted in known
    if not there:
        near = "" if kind in _THERE else suggest(wanted, known)
        text = f"there is no {kind} {wanted}: the fault waits for it; {near}"
        yield Finding(o, ("spec", "target"), text.removesuffix("; "))


def _service_there(name: str, world: Lookup) -> bool:
    namespace, _, service = qualified(name).partition("/")
    return world.service(namespace, service) is not None


_THERE: Mapping[str, Callable[[str, Lookup], bool]] = {
    SERVICE_TARGET: _service_there,
    HOST_TARGET: lambda name, world: any(
        name in tls.hosts for one in world.ingress_paths.values() for tls in one.tls
    ),
    RESOLVER_TARGET: lambda name, world: (
        name == OWN_RESOLVER or world.get(RESOLVER.key("", name)) is not None
    ),
}
"""How it is found out that a target is there which is no place with a cable."""


def _cells(o: Raw, now: float) -> Cells:
    spec, status = cells.spec(o), cells.status(o)
    hidden = bool(spec.get("hidden"))
    return [
        cells.name(o),
        "<hidden>" if hidden else str(spec.get("fault")),
        "<hidden>" if hidden else str(spec.get("target") or status.get("target") or "<none>"),
        str(status.get("phase") or PENDING),
        str(spec.get("for") or "until mended"),
        cells.age(o, now),
    ], []


DEFINITION = Definition(
    check=whole(FAULT, dns_label, fault_spec),
    outdated=_outdated,
    warnings=_warnings,
    columns=Columns(("NAME", "FAULT", "TARGET", "PHASE", "FOR", "AGE"), (), _cells),
)
