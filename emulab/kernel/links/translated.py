"""Links whose packets meet their node's programs: `tc qdisc add dev LINK clsact`, and a filter for each direction."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from emulab.kernel.ebpf.translator import translator_of
from emulab.kernel.links.encoding import CREATE, Encoding, Handles, index
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.trafficcontrol import (
    AT_EGRESS,
    AT_INGRESS,
    BPF,
    CLSACT,
    CLSACT_HANDLE,
    RTM_DELQDISC,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    TC,
)
from emulab.kernel.netns import Handle
from emulab.plan.links import Translated

_ALL = socket.htons(3)  # ETH_P_ALL
_DIRECT_ACTION = 1  # TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what becomes of the packet
_PARENTS = {"in": AT_INGRESS, "out": AT_EGRESS}


def _add(item: Translated, handles: Handles) -> Message:
    values = {"index": index(item, handles), "handle": CLSACT_HANDLE, "parent": CLSACT, "TCA_KIND": "clsact"}
    return Message(RTM_NEWQDISC, CREATE, TC.encode(values))


def _remove(item: Translated, handles: Handles) -> Message:
    return Message(RTM_DELQDISC, 0, TC.encode({"index": index(item, handles), "parent": CLSACT}))


def _finish(item: Translated, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    handle = handles[item.namespace]
    for direction, (name, program) in translator_of(handle).programs(item.role).items():
        options = BPF.encode({"TCA_BPF_FD": program, "TCA_BPF_NAME": name, "TCA_BPF_FLAGS": _DIRECT_ACTION})
        values = {
            "index": index(item, handles),
            "handle": 1,
            "parent": _PARENTS[direction],
            "info": 1 << 16 | _ALL,
            "TCA_KIND": "bpf",
            "TCA_OPTIONS": options,
        }
        payload = TC.encode(values)
        yield handle, Message(RTM_NEWTFILTER, CREATE, payload, f"add {item.title()}, {direction}")


ENCODING = Encoding(_add, _remove, _finish)
