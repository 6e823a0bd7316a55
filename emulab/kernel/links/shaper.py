"""Links of a certain rate, as the kernel is told of them: token buckets (tc-tbf(8))."""

from __future__ import annotations

import struct

from emulab.kernel.links.encoding import CREATE, Encoding, Handles, index
from emulab.kernel.links.queueing import rate_specification, remove_root
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.trafficcontrol import ROOT, RTM_NEWQDISC, TBF, TC
from emulab.plan.links import Shaper


def _add(item: Shaper, handles: Handles) -> Message:
    rate = item.rate // 8
    options = TBF.encode(
        {
            # struct tc_tbf_qopt; the bucket's size in time is worked out by the kernel from that in bytes
            "TCA_TBF_PARMS": rate_specification(rate)
            + rate_specification(0)
            + struct.pack("=III", item.limit, 0, 0),
            "TCA_TBF_RATE64": rate if rate >= 1 << 32 else None,
            "TCA_TBF_BURST": item.burst,
        }
    )
    values = {"index": index(item, handles), "parent": ROOT, "TCA_KIND": "tbf", "TCA_OPTIONS": options}
    return Message(RTM_NEWQDISC, CREATE, TC.encode(values))


ENCODING = Encoding(_add, remove_root)
