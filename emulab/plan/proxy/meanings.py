"""What the rules of kube-proxy are for, whatever the mode (`emulab.plan.rules.meaning`)."""

from __future__ import annotations

from functools import partial

from emulab.plan.rules.meaning import DNAT, DROP, REJECT, SNAT, Meaning, meant

KUBE_PROXY = "kube-proxy"
SOURCE_RANGES, CLUSTER_IP = "spec.loadBalancerSourceRanges", "spec.clusterIP"

translates = partial(meant, meaning=Meaning(KUBE_PROXY, DNAT))
"""To an endpoint."""
masquerades = partial(meant, meaning=Meaning(KUBE_PROXY, SNAT))
"""What would not come back this way, or not as an answer of the one who was asked."""
rejects = partial(meant, meaning=Meaning(KUBE_PROXY, REJECT))
"""Traffic of a Service that nobody serves, and to ports that no Service has at a cluster IP."""
drops = partial(meant, meaning=Meaning(KUBE_PROXY, DROP))
"""Traffic of a Service that nobody serves here, as its policy has it."""
shuts_out = partial(meant, meaning=Meaning(KUBE_PROXY, DROP, SOURCE_RANGES))
"""Sources that a Service's balancer takes no traffic from."""
knows_no_service = partial(meant, meaning=Meaning(KUBE_PROXY, DROP, CLUSTER_IP))
"""Cluster IPs that no Service has."""

REFUSALS = {"reject": rejects, "drop": drops}
"""By the verdict of an intent that nobody serves."""
