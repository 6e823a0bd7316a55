"""Ports out of their bridge, as the kernel is told: `ip link set LINK nomaster`, and `master BRIDGE` afterwards."""

from __future__ import annotations

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.plan.links import Detached


def _message(item: Detached, handles: Handles, master: int) -> Message:
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index(item, handles), "IFLA_MASTER": master}))


def _add(item: Detached, handles: Handles) -> Message:
    return _message(item, handles, 0)


def _remove(item: Detached, handles: Handles) -> Message:
    return _message(item, handles, handles[item.namespace].indexes[item.bridge])


ENCODING = Encoding(_add, _remove)
