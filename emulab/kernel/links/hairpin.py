"""Hairpin mode of bridges' ports as the kernel is told of it: `bridge link set dev LINK hairpin on`."""

from __future__ import annotations

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.codec import U8, AttributeTable
from emulab.kernel.netlink.messages import AF_BRIDGE, Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.plan.links import Hairpin

_PORT = AttributeTable({"IFLA_BRPORT_MODE": (4, U8)})  # linux/if_link.h


def _message(item: Hairpin, handles: Handles, mode: int) -> Message:
    values = {
        "family": AF_BRIDGE,
        "index": index(item, handles),
        "IFLA_PROTINFO": _PORT.encode({"IFLA_BRPORT_MODE": mode}),
    }
    return Message(RTM_SETLINK, 0, LINK.encode(values))


def _add(item: Hairpin, handles: Handles) -> Message:
    return _message(item, handles, 1)


def _remove(item: Hairpin, handles: Handles) -> Message:
    return _message(item, handles, 0)


ENCODING = Encoding(_add, _remove)
