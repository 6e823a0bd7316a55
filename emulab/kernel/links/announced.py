"""Announcements as the kernel is told to make them: `net.ipv4.conf.LINK.arp_notify`, and the link's MAC address anew.

A link that gets a MAC address, if only the one that it has, tells of all its addresses (inetdev_event and
ndisc_netdev_event of the kernel): by gratuitous ARP, and where the namespace has `ndisc_notify` by unsolicited Neighbor
Advertisements.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.kernel.netns import Handle
from emulab.plan.links import AnnouncedLink


def _message(item: AnnouncedLink, handles: Handles, on: int) -> Message:
    family = {"AF_INET": {"IFLA_INET_CONF": {"IPV4_DEVCONF_ARP_NOTIFY": on}}}
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index(item, handles), "IFLA_AF_SPEC": family}))


def _add(item: AnnouncedLink, handles: Handles) -> Message:
    return _message(item, handles, 1)


def _remove(item: AnnouncedLink, handles: Handles) -> Message:
    return _message(item, handles, 0)


def _finish(item: AnnouncedLink, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    told = LINK.encode({"index": index(item, handles), "IFLA_ADDRESS": item.mac})
    yield handles[item.namespace], Message(RTM_SETLINK, 0, told, f"announce the addresses of {item.link}")


ENCODING = Encoding(_add, _remove, _finish)
