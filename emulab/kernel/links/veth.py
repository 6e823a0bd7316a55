"""veth pairs as the kernel is told of them (linux/veth.h): the far end is a link of its own, within the near one."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import Values, link_encoding, link_up
from emulab.kernel.netlink.codec import AttributeTable
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import LINK
from emulab.kernel.netns import Handle
from emulab.plan.links import Veth

DATA = AttributeTable({"VETH_INFO_PEER": (1, LINK)})


def _describe(item: Veth, handles: Handles) -> tuple[Values, Values]:
    far = handles[item.peer_namespace]
    peer = {
        "index": far.allocate_index(item.peer),  # not up: the driver knows no pair yet (veth_open: ENOTCONN)
        "IFLA_IFNAME": item.peer,
        "IFLA_ADDRESS": item.peer_mac,
        "IFLA_MTU": item.mtu,
        "IFLA_NET_NS_FD": far.fd,
    }
    master = handles[item.namespace].indexes[item.master] if item.master else None
    return {"IFLA_MTU": item.mtu, "IFLA_MASTER": master}, {"VETH_INFO_PEER": peer}


def _finish(item: Veth, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    far = handles[item.peer_namespace]
    yield far, link_up(far, item.peer)


ENCODING = link_encoding("veth", DATA, _describe, _finish)
