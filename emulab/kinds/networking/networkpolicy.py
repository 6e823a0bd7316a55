"""NetworkPolicies, which nothing enforces yet."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import label_selector, whole
from emulab.kinds.definition import Definition, kept
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import NETWORK_POLICY
from emulab.model.checks import dns_subdomain, one_of, sequence

_spec_check = typed(
    "networking.v1.NetworkPolicySpec",
    {"podSelector": label_selector, "policyTypes": sequence(one_of("Ingress", "Egress"))},
)


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), cells.selector_text(cells.spec(o).get("podSelector")), cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(NETWORK_POLICY, dns_subdomain, _spec_check, optional_spec=True),
    standing=kept("is accepted but not enforced yet: all traffic passes"),
    columns=Columns(("NAME", "POD-SELECTOR", "AGE"), (), _cells),
)
