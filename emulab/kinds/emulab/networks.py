"""The networks outside the cluster that emulab's own kinds name (`emulab.kinds.underlay`)."""

from __future__ import annotations

from emulab.model.checks import one_of

NETWORKS = ("vpc", "internet")

network = one_of(*NETWORKS)
