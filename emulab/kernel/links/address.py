"""Addresses as the kernel is told of them."""

from __future__ import annotations

from emulab.kernel.links.encoding import CREATE, Encoding, Handles, index
from emulab.kernel.netlink.messages import FAMILIES, Message
from emulab.kernel.netlink.rtnetlink import (
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    INTERFACE_ADDRESS,
    RTM_DELADDR,
    RTM_NEWADDR,
)
from emulab.plan.links import Address


def _payload(item: Address, handles: Handles) -> bytes:
    interface = item.address
    own, length = interface.ip, interface.network.prefixlen
    values = {
        "family": FAMILIES[own.version],
        "prefixlen": length,
        "index": index(item, handles),
        "IFA_LOCAL": own,
        "IFA_ADDRESS": own,
    }
    flags = 0 if item.routed else IFA_F_NOPREFIXROUTE
    if own.version == 6:
        flags |= IFA_F_NODAD  # usable at once, without asking whether somebody else has it
    if flags:
        values["IFA_FLAGS"] = flags
    if own.version == 4 and length < 31:
        values["IFA_BROADCAST"] = interface.network.broadcast_address
    return INTERFACE_ADDRESS.encode(values)


def _add(item: Address, handles: Handles) -> Message:
    return Message(RTM_NEWADDR, CREATE, _payload(item, handles))


def _remove(item: Address, handles: Handles) -> Message:
    return Message(RTM_DELADDR, 0, _payload(item, handles))


ENCODING = Encoding(_add, _remove)
