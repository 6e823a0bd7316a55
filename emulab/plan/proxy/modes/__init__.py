"""The modes of kube-proxy: a module each, which has all that is to be said of it in the record `MODE`.

* `mode`         what a mode says of itself, and the sums that modes plan with
* `nftables`     flat maps (with `proxy.affinity` and `proxy.tables`)
* `iptables`     kube-proxy's chains (`iptablesport`: what each Service port has in them)
* `ipvs`         the kernel's IPVS, a device with all addresses, and rules for the rest
* `ebpf`         BPF programs at the links of nodes and pods, as Cilium instead of a kube-proxy
* `kuberouter`   IPVS, as kube-router has it
* `userspace`    a process a node, and rules that lead to it (`portals`: the ports at which it listens)

Whoever adds one writes its module and a line here, and gives the Cluster's schema its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import FAMILIES
from emulab.plan.proxy.filters import TABLE
from emulab.plan.proxy.modes import ebpf, iptables, ipvs, kuberouter, nftables, userspace
from emulab.plan.proxy.modes.mode import Mode

MODES: Mapping[str, Mode] = {
    module.MODE.name: module.MODE for module in (nftables, iptables, ipvs, userspace, ebpf, kuberouter)
}


def rules_shown_by(cluster: Cluster) -> str:
    """The command that shows on a node of the cluster where Services lead."""
    return MODES[cluster.proxy_mode].shown_by(cluster.families[0])


def is_of_proxies(kind: str) -> bool:
    """Whether rules of this kind (as `Network.rulesets` calls them) are a proxy's, in some mode."""
    return kind in _RULES


_RULES = {
    "ipvs",
    "ebpf",
    *(f.iptables for f in FAMILIES),
    *(f"{f.nft} {TABLE}" for f in FAMILIES),
}
