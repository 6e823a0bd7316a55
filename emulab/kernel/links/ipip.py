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
from emulab.kernel.netlink.requests import dump, send_batch
from emulab.kernel.netlink.rtnetlink import (
    IFF_UP,
    INTERFACE_ADDRESS,
    LINK,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
)
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
    handle = handles[item.namespace]
    index = handle.indexes.pop(item.name)
    _flush(item, handle, index)
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index, "flags": 0, "change": IFF_UP}))


def _flush(item: Ipip, handle: Handle, index: int) -> None:
    """Removes the addresses of the device. Routes go when it is set down; addresses of IPv4 would stay, and be in the
    way when it is wanted again."""
    sock = netns.open_rtnl(handle)
    bodies = dump(sock, RTM_GETADDR, INTERFACE_ADDRESS.encode({}), f"list the addresses of {item.name}")
    entries = ((INTERFACE_ADDRESS.decode(body), body) for body in bodies)
    own = [Message(RTM_DELADDR, 0, body) for entry, body in entries if entry["index"] == index]
    if failed := send_batch(sock, own):
        raise KernelError(
            f"remove the addresses of {item.name}: {failed[0].text}", item.namespace, failed[0].errno
        )


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
