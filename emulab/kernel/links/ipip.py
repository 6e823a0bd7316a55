"""The device of IP in IP as the kernel is told of it: tunl0, which its module makes in every namespace.

A kernel that has none yet loads the module when it is asked for a device of that kind. Whether the module has made one
then, or was set not to (net/ipv4/ipip.c; net.core.fb_tunnels_only_for_init_net), is seen by the name of the device, and
only then its index is known.
"""

from __future__ import annotations

import socket

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.links.encoding import Encoding, Handles
from emulab.kernel.netlink.messages import NLM_F_CREATE, NLM_F_EXCL, Message
from emulab.kernel.netlink.requests import send_batch
from emulab.kernel.netlink.rtnetlink import IFF_UP, LINK, RTM_NEWLINK, RTM_SETLINK
from emulab.kernel.netns import Handle
from emulab.plan.links import Ipip


def _add(item: Ipip, handles: Handles) -> Message:
    handle = handles[item.namespace]
    if item.name not in handle.indexes:
        handle.indexes[item.name] = _found(item, handle)
    values = {
        "index": handle.indexes[item.name],
        "flags": IFF_UP,
        "change": IFF_UP,
        "IFLA_MTU": item.mtu,
    }
    return Message(RTM_SETLINK, 0, LINK.encode(values))


def _remove(item: Ipip, handles: Handles) -> Message:
    values = {"index": handles[item.namespace].indexes.pop(item.name), "flags": 0, "change": IFF_UP}
    return Message(RTM_SETLINK, 0, LINK.encode(values))


def _found(item: Ipip, handle: Handle) -> int:
    """The index of the device; where there is none, the kernel is asked to make it."""

    def index() -> int:
        try:
            return socket.if_nametoindex(item.name)
        except OSError:
            return 0

    number: int = netns.inside(handle.fd, index)
    if number:
        return number
    wanted = {"IFLA_IFNAME": item.name, "IFLA_LINKINFO": {"IFLA_INFO_KIND": "ipip"}}
    make = Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, LINK.encode(wanted), "add tunl0")
    failed = send_batch(netns.open_rtnl(handle), [make])
    number = netns.inside(handle.fd, index)
    if not number:
        first = failed[0] if failed else None
        text = f"add {item.title()}: {first.text}" if first else f"add {item.title()}"
        raise KernelError(text, item.namespace, first.errno if first else 0)
    return number


ENCODING = Encoding(_add, _remove)
