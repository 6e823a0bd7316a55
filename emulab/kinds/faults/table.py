"""All faults that there are, one line each."""

from __future__ import annotations

from emulab.kinds.faults import (
    asymmetricroute,
    badchecksum,
    conntrackfull,
    corrupt,
    delay,
    dnsblocked,
    dnsrace,
    duplicate,
    hairpin,
    halfopen,
    kubeproxystuck,
    mtublackhole,
    nodelost,
    oneway,
    overlayblocked,
    packetloss,
    rate,
    reorder,
    reusedports,
    snatexhausted,
    staleneighbour,
    stalevtep,
    udpflows,
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
        badchecksum.FAULT,
        stalevtep.FAULT,
        staleneighbour.FAULT,
        asymmetricroute.FAULT,
        hairpin.FAULT,
        conntrackfull.FAULT,
        snatexhausted.FAULT,
        halfopen.FAULT,
        udpflows.FAULT,
        reusedports.FAULT,
        kubeproxystuck.FAULT,
        dnsblocked.FAULT,
        dnsrace.FAULT,
    )
}
"""By name, in the order in which they are listed: from the cable upwards."""
