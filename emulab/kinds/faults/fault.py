"""What a fault says of itself: what it does, how that shows, what a trace says of it, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds.faults.effects import Harm
from emulab.kinds.faults.options import Option
from emulab.kinds.faults.scene import Scene
from emulab.kinds.lookup import Lookup

FaultOptions = Mapping[str, Any]


class Symptom(NamedTuple):
    """How a fault shows: a command that works without the fault and fails with it.

    `place` and the words of `command` may have in braces what the fault is put at and what is around it: {target}, a
    node of it {node} with its {address} and a pod {pod} there with its {pod_address}, the same of another node without
    the fault ({other}, {other_address}, {other_pod}, {other_pod_address}), and the {service_name} and address
    {service} of a Service that has endpoints on every node and the port 80, the address {local_service} of one whose
    internalTrafficPolicy is Local, that of the cluster's name servers, {names}, and of one outside, {outside_names}.
    """

    place: str
    command: tuple[str, ...]
    options: Mapping[str, str] = {}  # what the fault is told so that it shows for certain
    after: str = ""
    """What has to happen with the fault there before it shows: `pods-replaced`, the Service's; `pods-not-ready`;
    `name-servers-replaced`; the `record-moved` of a name that was asked for; a connection `kept-alive` for a while;
    `while-it-runs`: the fault is put while the command waits for {held} seconds."""


class Traced(NamedTuple):
    """A request that the fault lets fail, so that a trace of it says why. Words in braces are those of a `Symptom`.

    `octets`: how long the request is to be at least. `options`: what the fault is told so that it fails for certain.
    `notes`: it succeeds, and the trace says in a note what was odd.
    """

    place: str = "{other_pod}"
    url: str = "http://{pod_address}/"
    octets: int = 0
    options: Mapping[str, str] = {}
    method: str = ""
    notes: bool = False
    worn: bool = False  # whether the symptom has to be there before


class FaultKind(NamedTuple):
    """One fault of the library. `says` is what a trace adds to what it sees; {target} is where the fault is put.

    `reasons`: which failures of a trace it may be what is behind, where these are about a place that has the fault, or
    (`decides`) where the request was only led astray there. `thread`: where it was met in the field.
    """

    name: str
    text: str
    target: str
    effects: Callable[[Scene, str, FaultOptions], Sequence[Harm]]
    symptom: Symptom
    says: str
    reasons: frozenset[str]
    options: Mapping[str, Option] = {}
    thread: str = ""
    traced: Traced | None = Traced()  # None: no request fails by it
    decides: bool = False
    needs_overlay: bool = False
    doubts: Callable[[str, Lookup], str] | None = None
    """Why it may well have no effect at a target ("": one that is drawn); "" where it has."""
    needs_mode: str = ""  # kube-proxy's
    needs_network: str = ""  # the mode of the pods' network
