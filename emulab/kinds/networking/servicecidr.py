"""ServiceCIDRs: in a cluster another range of Services' addresses, beside the API server's own (KEP-1880)."""

from __future__ import annotations

from emulab.kinds.aside import check
from emulab.kinds.definition import Definition, kept

DEFINITION = Definition(
    check=check,
    standing=kept("gives no Service an address: all are of the Cluster's serviceCIDR; say this range there"),
)
