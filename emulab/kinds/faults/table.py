"""All faults that there are, one line each."""

from __future__ import annotations

from emulab.kinds.faults import (
    clockskew,
    dnsblocked,
    expiredcertificate,
    kubeproxystuck,
    mtublackhole,
    nodelost,
    oneway,
    overlayblocked,
    packetloss,
    readinessflaps,
    searchstorm,
    shortkeepalive,
    slowstart,
    staledns,
    staleendpoints,
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
        mtublackhole.FAULT,
        overlayblocked.FAULT,
        stalevtep.FAULT,
        kubeproxystuck.FAULT,
        dnsblocked.FAULT,
        staledns.FAULT,
        searchstorm.FAULT,
        staleendpoints.FAULT,
        readinessflaps.FAULT,
        slowstart.FAULT,
        shortkeepalive.FAULT,
        expiredcertificate.FAULT,
        clockskew.FAULT,
    )
}
"""By name, in the order in which they are listed: from the cable upwards."""
