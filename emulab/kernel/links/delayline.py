"""Delay lines as the kernel is told of them: netem where it has it (tc-netem(8)), and else made of HTB.

HTB lets a class send as soon as it owes nothing, however large the packet is, and has it owe what that cost. So a
packet that is sent twice in a class of its own goes at once the first time, and the second time when the first is paid
for: by a timer of the kernel's (hrtimer), so that it waits for no scheduler. Every packet costs the same, by a table
of sizes with one entry. A class that still owes something when the next packet comes holds that longer, so there are
enough of them. The way through takes 10 to 20 us more than it should; `emulab doctor` measures it.

netem is one class of the same HTB, for packets that are sent the second time.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from emulab.kernel import netns
from emulab.kernel.links.encoding import CREATE, Encoding, Handles, index
from emulab.kernel.links.queueing import rate_specification, remove_root
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.requests import send_batch
from emulab.kernel.netlink.trafficcontrol import (
    BPF,
    HTB,
    HTB_VERSION,
    NETEM,
    ROOT,
    RTM_NEWQDISC,
    RTM_NEWTCLASS,
    RTM_NEWTFILTER,
    SIZES,
    TC,
)
from emulab.kernel.netns import Handle
from emulab.plan.links import DelayLine
from emulab.plan.links.delayline import AGAIN, FIRST, Held

_HTB, _NETEM = 1 << 16, 2 << 16  # handles
_COST = 1000  # bytes that every packet is taken for
_NETEM_CLASS = _HTB | 0xFFFF
_AT_ONCE = 10_000_000_000  # bytes a second of the class that has netem

# Classic BPF (linux/filter.h), which an ordinary user may load, too.
_LOAD, _AND, _JUMP_IF_GREATER, _JUMP_IF_LEAST, _RETURN, _RETURN_LOADED = 0x20, 0x54, 0x25, 0x35, 0x06, 0x16
_MARK = 0xFFFF_F000 + 20  # SKF_AD_OFF + SKF_AD_MARK

Instructions = tuple[tuple[int, int, int, int], ...]
_BY_SLOT: Instructions = ((_LOAD, 0, 0, _MARK), (_AND, 0, 0, AGAIN - 1), (_RETURN_LOADED, 0, 0, 0))
"""What class a packet is of: that of its mark."""


def _add(item: DelayLine, handles: Handles) -> Message:
    sizes = struct.pack("=BBhiIIII", 30, 0, 0, 0, 0, 0, 0, 1)  # struct tc_sizespec: one cell for all sizes
    values = {
        "index": index(item, handles),
        "handle": _HTB,
        "parent": ROOT,
        "TCA_KIND": "htb",
        "TCA_OPTIONS": HTB.encode({"TCA_HTB_INIT": struct.pack("=IIIII", HTB_VERSION, 10, 0, 0, 0)}),
        "TCA_STAB": SIZES.encode({"TCA_STAB_BASE": sizes, "TCA_STAB_DATA": struct.pack("=H", _COST)}),
    }
    return Message(RTM_NEWQDISC, CREATE, TC.encode(values))


def _finish(item: DelayLine, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    handle, link = handles[item.namespace], index(item, handles)
    netem = [message for n, held in enumerate(item.lanes) for message in _netem(n, held, link)]
    if not send_batch(netns.open_rtnl(handle), netem):
        return _told(handle, [_filter(link, _by_turn(item))])
    delays = (delay for held in item.lanes for delay in held.delays())  # this kernel has none
    slots = [_class(link, n, max(1, _COST * 1_000_000_000 // delay)) for n, delay in enumerate(delays, FIRST)]
    return _told(handle, [*slots, _filter(link, _BY_SLOT)])


def _by_turn(item: DelayLine) -> Instructions:
    """The class of netem of a packet's lane where it comes the second time; 0, none, where it comes the first time."""
    code = [
        (_LOAD, 0, 0, _MARK),
        (_JUMP_IF_GREATER, 1, 0, AGAIN),
        (_RETURN, 0, 0, 0),
        (_AND, 0, 0, AGAIN - 1),
    ]
    for number, following in enumerate(item.firsts[1:]):
        code += [(_JUMP_IF_LEAST, 1, 0, following), (_RETURN, 0, 0, _NETEM_CLASS - number)]
    return (*code, (_RETURN, 0, 0, _NETEM_CLASS - len(item.lanes) + 1))


def _told(handle: Handle, messages: Iterable[Message]) -> Iterator[tuple[Handle, Message]]:
    for message in messages:
        yield handle, message


def _class(link: int, number: int, rate: int) -> Message:
    specification = rate_specification(rate)
    # struct tc_htb_opt: no credit for what wasn't sent (buffer, cbuffer), one packet a turn (quantum)
    parameters = specification + specification + struct.pack("=IIIII", 0, 0, _COST, 0, 0)
    large = rate if rate >= 1 << 32 else None
    options = HTB.encode({"TCA_HTB_PARMS": parameters, "TCA_HTB_RATE64": large, "TCA_HTB_CEIL64": large})
    values = {"index": link, "handle": number, "parent": _HTB, "TCA_KIND": "htb", "TCA_OPTIONS": options}
    return Message(RTM_NEWTCLASS, CREATE, TC.encode(values), "add a class of HTB")


def _netem(number: int, held: Held, link: int) -> Iterator[Message]:
    """A class of HTB with netem for a lane."""
    parent = _NETEM_CLASS - number
    yield _class(link, parent, _AT_ONCE)
    options = NETEM.encode(
        {"limit": 100_000, "TCA_NETEM_LATENCY64": held.delay, "TCA_NETEM_JITTER64": held.jitter}
    )
    values = {
        "index": link,
        "handle": _NETEM + (number << 16),
        "parent": parent,
        "TCA_KIND": "netem",
        "TCA_OPTIONS": options,
    }
    yield Message(RTM_NEWQDISC, CREATE, TC.encode(values), "add netem")


def _filter(link: int, program: Instructions) -> Message:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    options = BPF.encode({"TCA_BPF_OPS_LEN": len(program), "TCA_BPF_OPS": code})
    info = 1 << 16 | socket.htons(0x0003)  # the first filter, of every protocol (ETH_P_ALL)
    values = {"index": link, "parent": _HTB, "info": info, "TCA_KIND": "bpf", "TCA_OPTIONS": options}
    return Message(RTM_NEWTFILTER, CREATE, TC.encode(values), "add a filter of HTB")


ENCODING = Encoding(_add, remove_root, _finish)
