"""Reverse path filters as the kernel is told of them: `net.ipv4.conf.LINK.rp_filter`, without /proc/sys."""

from __future__ import annotations

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.plan.links import ReversePath


def _message(item: ReversePath, handles: Handles, mode: int) -> Message:
    family = {"AF_INET": {"IFLA_INET_CONF": {"IPV4_DEVCONF_RP_FILTER": mode}}}
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index(item, handles), "IFLA_AF_SPEC": family}))


def _add(item: ReversePath, handles: Handles) -> Message:
    return _message(item, handles, 1)


def _remove(item: ReversePath, handles: Handles) -> Message:
    return _message(item, handles, 0)


ENCODING = Encoding(_add, _remove)
