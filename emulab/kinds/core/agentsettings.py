"""ConfigMaps with the settings of agents of nodes (kube-proxy, flannel, Calico, Cilium), whose work is the lab's.

The Cluster says what nodes have. What such a ConfigMap asks for and nodes haven't is a warning, one for each setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds.emulab.conntrack import TIMEOUTS, seconds
from emulab.kinds.emulab.podnetworks import NODE_LENGTHS
from emulab.model.addresses import IPNetwork
from emulab.model.checks import show
from emulab.model.families import IPV4, IPV6
from emulab.model.findings import Finding
from emulab.model.yaml_nodes import MalformedYaml, documents

if TYPE_CHECKING:
    from emulab.kinds.emulab.clusterview import Cluster
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

Settings = Mapping[str, Any]

_UNSET: tuple[Any, ...] = (None, "", 0, False, [], {}, "0", "0s")
"""What asks for nothing, in configuration that kubeadm and Helm write out in full."""


class _Setting(NamedTuple):
    """A setting that is asked for: what it is called, what nodes have there, and what the Cluster calls that."""

    name: str
    asked: Any
    there: Any = None
    field: str = ""  # "": the Cluster has none

    @property
    def differs(self) -> bool:
        """Whether something is asked for that nodes haven't."""
        return self.asked not in _UNSET and _networks(self.asked) != _networks(self.there)

    def __str__(self) -> str:
        what = f"{self.name} {show(self.asked)} isn't followed"
        return f"{what}: nodes have the Cluster's {self.field}, {self.there}" if self.field else what


class _Agent(NamedTuple):
    """An agent of nodes, by its ConfigMap."""

    key: str  # of the file in `data`; "" where each key of `data` is a setting
    plugin: str  # the `network.plugin` that it is of; "" for kube-proxy
    settings: Callable[[Settings, Cluster], Iterator[_Setting]]


def oddities(o: Object, world: Lookup) -> Iterator[Finding]:
    """Of a ConfigMap: what it asks for that nodes haven't."""
    agent = _AGENTS.get(o.name)
    if agent is None:
        return
    data: Settings = o.raw.get("data") or {}
    given = _read(data.get(agent.key)) if agent.key else data
    if not given:
        return
    path, cluster = ("data", agent.key) if agent.key else ("data",), world.cluster
    if agent.plugin and (cluster.chain or agent.plugin != cluster.network_plugin):
        field = cluster.chain_field if cluster.chain else "network.plugin"
        there = "plug-ins of this machine" if cluster.chain else cluster.network_plugin
        yield Finding(o, path, f"has no effect: nodes have the Cluster's {field}, {there}")
        return
    yield from (Finding(o, path, str(one)) for one in agent.settings(given, cluster) if one.differs)


def _read(text: Any) -> Settings:
    """A file of YAML or JSON; nothing where it is none, of which its agent would complain."""
    try:
        data = next(iter(documents(text, last_wins=True))).data if isinstance(text, str) else None
    except (MalformedYaml, StopIteration):
        data = None
    return data if isinstance(data, Mapping) else {}


def _part(given: Settings, name: str) -> Settings:
    part = given.get(name)
    return part if isinstance(part, Mapping) else {}


def _networks(said: Any) -> str:
    """A setting as it is compared: networks in one spelling (IPv6 has many) and order, anything else as it is."""
    words = str(said).replace(",", " ").split()
    try:
        return ",".join(sorted(str(ip_network(word)) for word in words))
    except ValueError:
        return str(said)


def _all(networks: Sequence[IPNetwork]) -> str:
    return ",".join(map(str, networks)) or "of another family"


# kube-proxy: KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1

_WITHOUT_FIELD = (
    *(("iptables", "masqueradeAll"), ("nftables", "masqueradeAll"), ("ipvs", "excludeCIDRs")),
    *(("ipvs", "tcpTimeout"), ("ipvs", "tcpFinTimeout"), ("ipvs", "udpTimeout")),
)
"""What changes what becomes of packets, and a Cluster has no field for."""


def _kube_proxy(given: Settings, cluster: Cluster) -> Iterator[_Setting]:
    mode, ipvs = given.get("mode"), _part(given, "ipvs")
    yield _Setting("mode", mode, cluster.proxy_mode, "proxy.mode")
    yield _Setting("clusterCIDR", given.get("clusterCIDR"), _all(cluster.pod_cidrs), "podCIDR")
    if "ipvs" in (mode, cluster.proxy_mode):
        yield _Setting("ipvs.scheduler", ipvs.get("scheduler"), cluster.scheduler, "proxy.scheduler")
        yield _Setting("ipvs.strictARP", ipvs.get("strictARP"), cluster.strict_arp, "proxy.strictARP")
    conntrack, there = _part(given, "conntrack"), dict(cluster.conntrack)
    for name, timeout in TIMEOUTS.items():
        asked, own = conntrack.get(name), there.get(timeout.path, "the kernel's own")
        if asked not in _UNSET and str(seconds(str(asked))) != own:
            yield _Setting(f"conntrack.{name}", asked, own, f"proxy.conntrack.{name}")
    yield _Setting("nodePortAddresses", given.get("nodePortAddresses"))
    for part, name in _WITHOUT_FIELD:
        yield _Setting(f"{part}.{name}", _part(given, part).get(name))


# flannel: `net-conf.json` (Documentation/configuration.md and backends.md)

_BACKENDS = {"vxlan": "vxlan", "routed": "host-gw", "wireguard": "wireguard"}
"""What flannel calls its modes."""
_VXLAN = {"VNI": 1, "Port": 8472}
"""Those of `flannel.1`."""


def _flannel(given: Settings, cluster: Cluster) -> Iterator[_Setting]:
    if given.get("EnableIPv4") is not False:
        yield _Setting("Network", given.get("Network"), _all(cluster.pods_of(IPV4)), "podCIDR")
    if given.get("EnableIPv6"):
        yield _Setting("IPv6Network", given.get("IPv6Network"), _all(cluster.pods_of(IPV6)), "podCIDR")
    backend, own = _part(given, "Backend"), _BACKENDS[cluster.network_mode]
    asked = backend.get("Type")
    yield _Setting("Backend.Type", asked, own, "network.mode")
    if asked == own == "vxlan":
        for name, number in _VXLAN.items():
            yield _Setting(f"Backend.{name}", backend.get(name), number)
        yield _Setting("Backend.DirectRouting", backend.get("DirectRouting"))
    for name, version in (("SubnetLen", 4), ("IPv6SubnetLen", 6)):
        yield _Setting(name, given.get(name), NODE_LENGTHS[version])


# Calico: `calico-config` of calico.yaml

_BIRD = ("ipip", "bgp")


def _calico(given: Settings, cluster: Cluster) -> Iterator[_Setting]:
    own = "bird" if cluster.network_mode in _BIRD else cluster.network_mode
    yield _Setting("calico_backend", given.get("calico_backend"), own, "network.mode")
    own_mtu = cluster.mtu - cluster.overhead
    yield _Setting("veth_mtu", given.get("veth_mtu"), own_mtu, "network.mtu less the overhead")


# Cilium: `cilium-config` of its Helm chart

_REPLACING = {"true": True, "strict": True, "false": False, "disabled": False}
"""Whether BPF is to translate Services, by `kube-proxy-replacement` of any version."""


def _cilium(given: Settings, cluster: Cluster) -> Iterator[_Setting]:
    overlay = cluster.network_mode == "vxlan"
    yield _Setting(
        "routing-mode", given.get("routing-mode"), "tunnel" if overlay else "native", "network.mode"
    )
    if overlay:
        tunnel = given.get("tunnel-protocol") or given.get("tunnel")
        yield _Setting("tunnel-protocol", tunnel, "vxlan", "network.mode")
    replacing = str(given.get("kube-proxy-replacement"))
    if (replaces := _REPLACING.get(replacing)) is not None and replaces != (cluster.proxy_mode == "ebpf"):
        yield _Setting("kube-proxy-replacement", replacing, cluster.proxy_mode, "proxy.mode")
    for family in (IPV4, IPV6):
        name = f"cluster-pool-{family.name.lower()}-cidr"
        yield _Setting(name, given.get(name), _all(cluster.pods_of(family)), "podCIDR")
    for name, usual in _OF_CILIUM.items():
        yield _Setting(name, given.get(name), usual)


_OF_CILIUM = {
    "bpf-lb-algorithm": "random",
    "bpf-lb-mode": "snat",
    "enable-bandwidth-manager": "false",
    "enable-host-firewall": "false",
    "enable-ipsec": "false",
    "enable-policy": "default",
    "enable-wireguard": "false",
}
"""Settings that change what becomes of packets, and what nodes have."""


_AGENTS: Mapping[str, _Agent] = {
    "kube-proxy": _Agent("config.conf", "", _kube_proxy),
    "kube-flannel-cfg": _Agent("net-conf.json", "flannel", _flannel),
    "calico-config": _Agent("", "calico", _calico),
    "cilium-config": _Agent("", "cilium", _cilium),
}
"""By the names that their installations give these ConfigMaps."""
