"""What every /etc/hosts has."""

from __future__ import annotations

from emulab.model.families import IPV4, IPV6

LOCALHOST = (f"{IPV4.loopback}\tlocalhost", f"{IPV6.loopback}\tlocalhost ip6-localhost ip6-loopback")
"""How an /etc/hosts begins, whatever the families: so the kubelet writes it, and Debian's installer, as loopback has
both addresses in every network namespace."""
MANAGED_HOSTS = (
    *LOCALHOST,
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)
"""How that of a Pod begins (managedHostsFileContent in pkg/kubelet/kubelet_pods.go)."""
