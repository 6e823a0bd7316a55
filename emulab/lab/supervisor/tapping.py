"""Packet taps in the namespaces of a lab: taking hold of these, and the operation `taps`, for whoever looks on.

The sockets are handed over and read by who asked; nothing is kept for him. A pod that comes later is a tap that he
hasn't got yet when he asks again.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import KernelError, UserError
from emulab.kernel.netns import Handle
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.supervisor.arguments import COUNT, NAME, TEXT, check, listed, optional
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.targets import find_place
from emulab.observe.capture import filters, rings
from emulab.plan.draft import FABRIC
from emulab.plan.links import Bridge, TunnelVxlan, Veth, Vxlan
from emulab.plan.rules.tracing import namespace_places
from emulab.plan.state import Place, World

PLACE_RING, POD_RINGS = 4 << 20, 64 << 20  # bytes: each place's, all pods' together
_POD_RING = (128 << 10, 2 << 20)  # at least, at most
_LONGEST = 1 << 18  # bytes of a frame, libpcap's own default


@dataclass(frozen=True, slots=True)
class TappedNamespace:
    """A namespace with a tap: the place that stands for it."""

    namespace: str
    fd: int  # our own
    place: Place
    interfaces: Mapping[int, str]
    ring: int
    hosts: Sequence[int] | None = None
    """The interfaces that are no ports of a bridge, by index, where some are."""

    @property
    def id(self) -> str:
        """What tells this namespace from a later one of the same name. It is nobody else's while a socket is in it."""
        return f"{os.fstat(self.fd).st_ino:x}"


def watch(around: Surroundings, world: World) -> list[TappedNamespace]:
    """Takes hold of every namespace that a packet can be seen in, but the wire. Raises KernelError."""
    names = namespace_places(world)
    pods = sum(1 for name in names.values() if world.places[name].kind == "pod")
    small, large = _POD_RING
    pod_ring = min(max(POD_RINGS // max(pods, 1), small), large)
    hosts = _hosts(world, bool(cluster_of(around.store.objects()).chain))
    found: list[TappedNamespace] = []
    try:
        for namespace, name in names.items():
            place, handle = world.places[name], around.handles.get(namespace)
            if namespace == FABRIC or handle is None or (fd := _hold(around, namespace, handle)) is None:
                continue
            interfaces = {index: link for link, index in handle.indexes.copy().items()}
            ring = pod_ring if place.kind == "pod" else PLACE_RING
            own = hosts.get(namespace)
            known = None if own is None else [index for index, link in interfaces.items() if link in own]
            found.append(TappedNamespace(namespace, fd, place, interfaces, ring, known))
    except BaseException:
        let_go(found)
        raise
    return found


def _hosts(world: World, chained: bool) -> Mapping[str, set[str]]:
    """The links of nodes that have bridges, or may have plug-ins' ones, but those of pods."""
    bridged = {p.namespace for p in world.places.values() if p.kind == "node"} if chained else set[str]()
    ends: dict[str, set[str]] = {}
    for item in world.network.items:
        if isinstance(item, Bridge):
            bridged.add(item.namespace)
        elif isinstance(item, Vxlan | TunnelVxlan):
            ends.setdefault(item.namespace, set()).add(item.name)
        elif isinstance(item, Veth) and item.namespace == FABRIC:
            ends.setdefault(item.peer_namespace, set()).add(item.peer)
    return {namespace: ends.get(namespace, set()) for namespace in bridged}


def let_go(held: Sequence[TappedNamespace]) -> None:
    for watched in held:
        os.close(watched.fd)


def _hold(around: Surroundings, namespace: str, handle: Handle) -> int | None:
    """A descriptor of our own of a namespace; None when it is being taken away. Raises KernelError."""
    try:
        fd = os.dup(handle.fd)
    except OSError as error:
        if error.errno == errno.EBADF:
            return None
        remedy = "raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
        raise KernelError("keep a namespace open", errno=error.errno or 0, remedy=remedy) from None
    # A thread takes namespaces away, and the number may have been another one's by then.
    if around.handles.get(namespace) is not handle:
        os.close(fd)
        return None
    return fd


class Tapping:
    """The operation `taps`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def taps(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """`targets`: where; everywhere without any. `known`: the ids of taps that the asker has. `filter`: a program of
        BPF for the frames that are kept, in hexadecimal digits; IP's and ARP's without one. `snap`: bytes of a frame.

        Result: `taps` that are new, of which the descriptors are in this order, and the `ids` of all that there are.
        Raises EmulabError.
        """
        check(
            arguments,
            targets=optional(listed(NAME)),
            namespace=optional(NAME),
            known=optional(listed(NAME)),
            filter=optional(TEXT),
            snap=optional(COUNT),
        )
        world = self._around.world
        if world is None:
            raise UserError("the lab is still being built")
        targets, namespace = arguments.get("targets") or [], arguments.get("namespace") or "default"
        wanted = {find_place(self._around, target, namespace)[0].namespace for target in targets}
        known = set(arguments.get("known") or ())
        families = cluster_of(self._around.store.objects()).families
        snap = min(arguments.get("snap") or _LONGEST, _LONGEST)
        program = _program(arguments.get("filter")) or filters.filter_program(None, snap, families)
        held = watch(self._around, world)
        try:
            meant = [w for w in held if not wanted or w.namespace in wanted]
            fresh = [w for w in meant if w.id not in known]
            described = [
                {
                    "id": w.id,
                    "place": w.place.name,
                    "kind": w.place.kind,
                    "interfaces": w.interfaces,
                    "ring": w.ring,
                    "hosts": w.hosts,
                }
                for w in fresh
            ]
            opened = await asyncio.to_thread(rings.open_taps, [(w.fd, program, w.ring) for w in fresh])
            ids = [w.id for w in meant]
        finally:
            let_go(held)
        return {"taps": described, "ids": ids}, [sock.detach() for sock in opened]


def _program(digits: str | None) -> bytes | None:
    """Raises UserError."""
    if not digits:
        return None
    with suppress(ValueError):
        program = bytes.fromhex(digits)
        if filters.is_program(program):
            return program
    raise UserError("the operation taps takes as filter a program of BPF in hexadecimal digits")
