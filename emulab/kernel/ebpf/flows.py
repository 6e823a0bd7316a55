"""Which connections that programs know are over: by what they have seen of them, and when. Pure.

Times are those of Cilium (bpf/node_config.h and its agent's options): an ended connection is known for ten seconds
more, as its last packets may come again.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kernel.ebpf import layouts
from emulab.kernel.ebpf.layouts import PROTOCOLS

_SECOND = 1_000_000_000
ENDED, BEGUN, OPEN, DATAGRAMS = (seconds * _SECOND for seconds in (10, 60, 8000, 60))
"""How long nothing may come of a connection of TCP that both sides have ended, that has begun, or that is open, and of
datagrams: as long as programs lead these to the same endpoint."""


def over(known: Mapping[bytes, bytes], now: int) -> list[bytes]:
    """The keys of connections that are over, each with both its halves. `now` is when `known` was read, or before."""
    found: list[bytes] = []
    for key, value in known.items():
        direction, other = _other(key, value)
        there = known.get(other)
        if direction == layouts.REPLY:
            if there is None and now - _seen(value) > ENDED:  # of a request that the map has forgotten
                found.append(key)
            continue
        halves = {key: value}
        if there is not None and _other(other, there)[1] == key:  # else another request has the answers now
            halves[other] = there
        if now - max(map(_seen, halves.values())) > _patience(key, value):
            found += halves
    return found


def _other(key: bytes, value: bytes) -> tuple[int, bytes]:
    """The direction of a half, and the key of the other one."""
    *_, kind, direction = layouts.FLOW_KEY.unpack(key)
    new_source, new_to, new_source_port, new_to_port, *_ = layouts.FLOW.unpack(value)
    back = layouts.FORWARD if direction == layouts.REPLY else layouts.REPLY
    other = layouts.FLOW_KEY.pack(new_to, new_source, new_to_port, new_source_port, kind, back)
    return direction, other


def _seen(value: bytes) -> int:
    return int(layouts.FLOW.unpack(value)[-1])


def _patience(key: bytes, value: bytes) -> int:
    kind, flags = layouts.FLOW_KEY.unpack(key)[4], layouts.FLOW.unpack(value)[4]
    if kind != PROTOCOLS["tcp"]:
        return DATAGRAMS
    if flags & layouts.ENDED == layouts.ENDED:
        return ENDED
    return OPEN if flags & layouts.OPEN else BEGUN
