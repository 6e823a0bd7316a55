"""`emulab describe`: everything worth knowing of an object, for reading."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property

from emulab.cli import infiles
from emulab.cli.kinds import Reference, not_found
from emulab.cli.output.description import describe
from emulab.cli.selection import EVERY_NAMESPACE, Selection, fetch, namespace_of, nothing_found
from emulab.cli.usage import UsageError, add_files, add_namespace, add_selector, add_switch, natural
from emulab.kinds.cells import Raw
from emulab.kinds.emulab.backendtext import STATUS, with_tracked
from emulab.kinds.kind import WORKLOAD, Kind
from emulab.kinds.registry import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    INGRESS,
    KINDS,
    LOAD_BALANCER,
    NODE,
    POD,
    SECRET,
)
from emulab.lab.client.client import LabClient, connect
from emulab.model.objects import Object


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab describe [-l LAB] [-n NS] KIND [NAME…] | KIND NAME-PREFIX | KIND/NAME… | -f FILE"
    parser.add_argument("what", nargs="*", metavar="KIND NAME", help="pod web, svc/web, …")
    add_files(parser)
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="objects of all namespaces")
    add_selector(parser)
    add_switch(parser, "--show-events", True, "without Events")
    parser.add_argument("--chunk-size", type=natural, help=argparse.SUPPRESS)  # a lab answers in one


def run(options: argparse.Namespace) -> int:
    wanted = infiles.named(options)
    if options.all_namespaces and any(reference.name for reference in wanted):
        raise UsageError("an object is in one namespace: a name can't go with --all-namespaces")
    selection = Selection.of(options, wanted)
    texts: list[str] = []
    missing: list[Reference] = []
    with connect(options.lab) as client:
        around = _Around(client, options)
        for reference in wanted:
            objects = _meant(client, reference, selection, options)
            texts += [around.text(reference.kind, o) for o in objects]
            if reference.name and not objects:
                missing.append(reference)
        lines_of_missing = [
            not_found(reference) + _why_absent(client, reference, options) for reference in missing
        ]
    if texts:
        print("\n\n\n".join(texts))
    elif not missing:
        print(nothing_found(wanted, options), file=sys.stderr)
    for line in lines_of_missing:
        print(line, file=sys.stderr)
    return 1 if missing else 0


def _why_absent(client: LabClient, reference: Reference, options: argparse.Namespace) -> str:
    """What more is to be said of an object that isn't there: the lab's own ingress controller may stand aside."""
    from emulab.cluster import brought

    namespace = options.namespace if reference.kind.namespaced else ""
    key = reference.kind.key(reference.namespace or namespace, reference.name)
    if key not in brought.OWN_INGRESS:
        return ""
    kinds = [*KINDS.of(WORKLOAD), POD]
    there = (Object(o) for kind in kinds for o in fetch(client, Reference(kind, ""), EVERY_NAMESPACE))
    why = brought.absent(there, key)
    return f": {why}" if why else ""


class _Around:
    """The EndpointSlices and Events of a lab, of which descriptions tell those of their object's Namespace."""

    def __init__(self, client: LabClient, options: argparse.Namespace) -> None:
        self._client = client
        self._slices = _by_namespace(fetch(client, Reference(ENDPOINT_SLICE, ""), EVERY_NAMESPACE))
        events = fetch(client, Reference(EVENT, ""), EVERY_NAMESPACE) if options.show_events else []
        self._events = _by_namespace(events) if options.show_events else None

    def text(self, kind: Kind, o: Raw) -> str:
        # Of what is in no Namespace, Events are in the default one.
        namespace = o["metadata"].get("namespace") or "default"
        events = None if self._events is None else self._events.get(namespace, [])
        text = describe(kind, o, self._beside(kind, o, namespace), events, time.time())
        remark = _remark(kind, o)
        return f"{text}\nNote:  {remark}" if remark else text

    def _beside(self, kind: Kind, o: Raw, namespace: str) -> Sequence[Raw]:
        """What a description looks at beside its object: a Node's at Pods, an Ingress' at Secrets, a LoadBalancer's at
        the counters of the server at its place."""
        if kind == LOAD_BALANCER:
            nodes = (o.get("status") or {}).get("replicas") or ()
            active = (str(one["name"]) for one in nodes if one.get("state") == "active")
            place = next(active, o["metadata"]["name"])
            counters = self._client.request("server-status", name=place)
            if (o.get("spec") or {}).get("mode") == "nat":
                counters = with_tracked(counters, _tracked(self._client, place))
            return [{"kind": STATUS, **counters}]
        if kind == NODE:
            return fetch(self._client, Reference(POD, ""), EVERY_NAMESPACE)
        slices = self._slices.get(namespace, [])
        if kind == INGRESS:
            secrets = fetch(self._client, Reference(SECRET, ""), namespace)
            return [*slices, *secrets, *self._ingresses]
        return slices

    @cached_property
    def _ingresses(self) -> Sequence[Raw]:
        """Those of all Namespaces, of which a host may have its certificate."""
        return fetch(self._client, Reference(INGRESS, ""), EVERY_NAMESPACE)


def _tracked(client: LabClient, place: str) -> Iterator[tuple[str, str, int, str, int]]:
    """The connections that a place's kernel tracks: what each came to, and who answers."""
    from emulab.toolbox.connections import tracked  # of who looks at balancers that forward

    for flow in tracked(client, place, "default"):
        to, by = flow.first, flow.second
        yield to.protocol, to.destination, to.destination_port, by.source, by.source_port


def _remark(kind: Kind, o: Raw) -> str:
    if kind != DEPLOYMENT:
        return ""
    from emulab.cluster import brought  # of who looks at Deployments

    return brought.remark(Object(o))


def _by_namespace(objects: Sequence[Raw]) -> dict[str, list[Raw]]:
    found: dict[str, list[Raw]] = {}
    for o in objects:
        found.setdefault(o["metadata"].get("namespace") or "default", []).append(o)
    return found


def _meant(
    client: LabClient, reference: Reference, selection: Selection, options: argparse.Namespace
) -> list[Raw]:
    """The objects of a reference; `describe KIND NAME` takes the beginning of names, too, as kubectl's does."""
    admits = selection.filter(reference.kind).admits
    namespace = namespace_of(reference.kind, options)
    objects = [o for o in fetch(client, reference, namespace) if admits(o)]
    if objects or len(options.what) != 2 or "/" in options.what[0]:
        return objects
    there = fetch(client, Reference(reference.kind, ""), namespace)
    return [o for o in there if o["metadata"]["name"].startswith(reference.name)]
