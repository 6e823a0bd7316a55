"""What queueing disciplines of all kinds have in common."""

from __future__ import annotations

import struct
from typing import Any

from emulab.kernel.links.encoding import Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.trafficcontrol import ETHERNET, ROOT, RTM_DELQDISC, TC


def rate_specification(rate: int) -> bytes:
    """A struct tc_ratespec: bytes a second, as many as it has room for."""
    return struct.pack("=BBHhHI", 0, ETHERNET, 0, 0, 0, min(rate, (1 << 32) - 1))


def remove_root(item: Any, handles: Handles) -> Message:
    """Gives a link the queueing back that it had by itself."""
    return Message(RTM_DELQDISC, 0, TC.encode({"index": index(item, handles), "parent": ROOT}))
