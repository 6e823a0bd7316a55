"""Forwarding entries as the kernel is told of them: into the VXLAN device's own table, not into a bridge's."""

from __future__ import annotations

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import AF_BRIDGE, NLM_F_APPEND, NLM_F_CREATE, Message
from emulab.kernel.netlink.rtnetlink import (
    NEIGHBOUR,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
)
from emulab.plan.links import ForwardingEntry


def _payload(item: ForwardingEntry, handles: Handles) -> bytes:
    return NEIGHBOUR.encode(
        {
            "family": AF_BRIDGE,
            "ifindex": index(item, handles),
            "state": NUD_PERMANENT | NUD_NOARP,
            "flags": NTF_SELF,
            "NDA_DST": item.destination,
            "NDA_LLADDR": item.mac,
        }
    )


def _add(item: ForwardingEntry, handles: Handles) -> Message:
    flags = NLM_F_CREATE | NLM_F_APPEND
    return Message(RTM_NEWNEIGH, flags, _payload(item, handles))


def _remove(item: ForwardingEntry, handles: Handles) -> Message:
    return Message(RTM_DELNEIGH, 0, _payload(item, handles))


ENCODING = Encoding(_add, _remove)
