"""All faults that there are, one line each."""

from __future__ import annotations

from emulab.kinds.faults import (
    corrupt,
    delay,
    dnsblocked,
    duplicate,
    kubeproxystuck,
    mtublackhole,
    nodelost,
    oneway,
    overlayblocked,
    packetloss,
    rate,
    reorder,
    stalevtep,
    zonelost,
)
from emulab.kinds.faults.fault import FaultKind

FAULTS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        nodelost.FAULT,
        zonelost.FAULT,
        oneway.FAULT,
        packetloss.FAULT,
        delay.FAULT,
        rate.FAULT,
        reorder.FAULT,
        duplicate.FAULT,
        corrupt.FAULT,
        mtublackhole.FAULT,
        overlayblocked.FAULT,
        stalevtep.FAULT,
        kubeproxystuck.FAULT,
        dnsblocked.FAULT,
    )
}
"""By name, in the order in which they are listed: from the cable upwards."""
