"""Permanent neighbours as the kernel is told of them."""

from __future__ import annotations

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import FAMILIES, NLM_F_CREATE, NLM_F_REPLACE, Message
from emulab.kernel.netlink.rtnetlink import NEIGHBOUR, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH
from emulab.plan.links import Neighbour

# One may have been learnt before it was planned, so it is replaced; it is gone again with its removal.
_FLAGS = NLM_F_CREATE | NLM_F_REPLACE


def _payload(item: Neighbour, handles: Handles) -> bytes:
    return NEIGHBOUR.encode(
        {
            "family": FAMILIES[item.address.version],
            "ifindex": index(item, handles),
            "state": NUD_PERMANENT,
            "NDA_DST": item.address,
            "NDA_LLADDR": item.mac,
        }
    )


def _add(item: Neighbour, handles: Handles) -> Message:
    return Message(RTM_NEWNEIGH, _FLAGS, _payload(item, handles))


def _remove(item: Neighbour, handles: Handles) -> Message:
    return Message(RTM_DELNEIGH, 0, _payload(item, handles))


ENCODING = Encoding(_add, _remove)
