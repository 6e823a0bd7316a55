"""What links of all kinds have in common: a name, a MAC address, and messages that make, set and remove them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emulab.kernel.links.encoding import CREATE, Encoding, Handles
from emulab.kernel.netlink.codec import AttributeTable
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import IFF_UP, LINK, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK
from emulab.kernel.netns import Handle
from emulab.plan.links.item import Link

Values = Mapping[str, Any]


def link_encoding(
    kind: str,
    data: AttributeTable | None,
    describe: Callable[[Any, Handles], tuple[Values, Values]],
    finish: Callable[[Any, Handles], Iterable[tuple[Handle, Message]]] | None = None,
    up: bool = True,
) -> Encoding:
    """The encoding of a kind of link, by the kernel's name for it.

    `data` is the table of what is true of this kind alone (IFLA_INFO_DATA); `describe` gives an item's attributes of a
    link, and those of its kind.
    """

    def add(item: Any, handles: Handles) -> Message:
        attributes, own = describe(item, handles)
        flags = IFF_UP if up else 0
        info = {"IFLA_INFO_KIND": kind, "IFLA_INFO_DATA": data.encode(own) if data is not None else None}
        values = {
            "index": handles[item.namespace].allocate_index(item.name),
            "flags": flags,
            "change": flags,
            "IFLA_IFNAME": item.name,
            "IFLA_ADDRESS": item.mac,
            **attributes,
            "IFLA_LINKINFO": info,
        }
        return Message(RTM_NEWLINK, CREATE, LINK.encode(values))

    return Encoding(add, remove_link) if finish is None else Encoding(add, remove_link, finish)


def remove_link(item: Link, handles: Handles) -> Message:
    """Removes a link by its own end; the other one of a pair goes with it."""
    payload = LINK.encode({"index": handles[item.namespace].indexes[item.name]})
    for namespace, name in item.ends():
        if namespace in handles:
            handles[namespace].indexes.pop(name, None)
    return Message(RTM_DELLINK, 0, payload)


def link_up(handle: Handle, name: str) -> Message:
    """Brings a link up, as `ip link set NAME up`."""
    payload = LINK.encode({"index": handle.indexes[name], "flags": IFF_UP, "change": IFF_UP})
    return Message(RTM_SETLINK, 0, payload, f"set {name} up")


def link_forwarding(handle: Handle, name: str) -> Message:
    """Lets packets that come in by this link be forwarded: `net.ipv4.conf.NAME.forwarding`, without /proc/sys.

    IPv6 can't be told so: its IFLA_INET6_CONF is only ever read.
    """
    forwarding = {"IFLA_INET_CONF": {"IPV4_DEVCONF_FORWARDING": 1}}
    payload = LINK.encode({"index": handle.indexes[name], "IFLA_AF_SPEC": {"AF_INET": forwarding}})
    return Message(RTM_SETLINK, 0, payload, f"set {name} forwarding")
