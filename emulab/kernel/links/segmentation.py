"""How many segments a link takes in one packet, as the kernel is told of it: `ip link set LINK gso_max_segs NUMBER`."""

from __future__ import annotations

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.plan.links import Segmentation

_USUAL = 65535  # GSO_MAX_SEGS


def _message(item: Segmentation, handles: Handles, most: int) -> Message:
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index(item, handles), "IFLA_GSO_MAX_SEGS": most}))


def _add(item: Segmentation, handles: Handles) -> Message:
    return _message(item, handles, 1)


def _remove(item: Segmentation, handles: Handles) -> Message:
    return _message(item, handles, _USUAL)


ENCODING = Encoding(_add, _remove)
