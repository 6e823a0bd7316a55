"""bird.conf (BIRD 2's User's Guide), as confd of calico-node writes it for BIRD 1, one daemon for each family. Pure.

Read from its templates (node/filesystem/etc/calico/confd/templates: bird.cfg, bird_aggr.cfg, bird_ipam.cfg). Names of
protocols, filters and what is told to whom are theirs. Ours are times: connections are tried each second, not each
two to five.

A node of kube-router, which speaks by itself (GoBGP), tells and takes what that does: each node its range, the router
addresses of Services, too (pkg/controllers/routing/bgp_policies.go, whose names the filters have). Its sessions are
over after 90 s of silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_address, ip_network

from emulab.servers.bgp.config import BgpConfig, BgpPeer

FOLDER = "/etc/bird"
CONF = f"{FOLDER}/bird.conf"
SOCKET = "bird.ctl"
ROOM = "/run/bird"
"""Where birdc looks for the socket."""

_CHANNELS = {4: "ipv4", 6: "ipv6"}
_DIRECT = '  interface -"cali*", -"kube-ipvs*", "*";'
_DIRECT_OF_KUBE_ROUTER = '  interface -"kube-bridge", -"kube-dummy-if", "*";'
_EXPORT, _EXPORT_RANGES, _EXPORT_ALL, _IMPORT = (
    "calico_export_to_bgp_peers",
    "kube_router_export",
    "kube_router_export_router",
    "kube_router_import",
)


def bird_conf(config: BgpConfig) -> str:
    """The text of bird.conf."""
    versions = [ip_address(address).version for address in config.own]
    of_node, of_kube_router = not config.callers, bool(config.ranges)
    lines = ["log stderr all;", f"router id {IPv4Address(config.router_id)};", ""]
    lines += ["protocol device {", "  scan time 2;", "}", ""]
    channels = [f"  {_CHANNELS[version]};" for version in versions]
    links = [_DIRECT_OF_KUBE_ROUTER] if of_kube_router else [_DIRECT] if of_node else []
    lines += ["protocol direct {", *links, *channels, "}", ""]
    if of_kube_router:
        lines += _of_kube_router(config, versions)
    else:
        lines += _of_node(config, versions) if of_node else _of_router(config)
    return "\n".join(lines) + "\n"


def _of_node(config: BgpConfig, versions: Sequence[int]) -> Iterator[str]:
    yield from _told(config)
    for version in versions:
        # No metric of BIRD's own, as with Calico: the kernel's default.
        yield from _kernel(
            version, "import all;", "filter calico_kernel_programming", "learn;", "persist;", "metric 0;"
        )
    for version in versions:
        own = map(ip_network, config.blocks)
        # One of a single address is known by its pod's route, for which this one would be in the way.
        if blocks := [one for one in own if one.version == version and one.num_addresses > 1]:
            routes = [f"  route {block} blackhole;" for block in blocks]
            yield from ("protocol static {", f"  {_CHANNELS[version]};", *routes, "}", "")
    yield from _template(config)
    for peer in config.peers:
        yield from _session(config, peer, _EXPORT)


def _of_kube_router(config: BgpConfig, versions: Sequence[int]) -> Iterator[str]:
    for version in versions:
        # The bridge has the route to the node's own range, and what is told beside is nobody's.
        yield from _kernel(version, "import none;", "where source = RTS_BGP", "persist;", "metric 0;")
    for version in versions:
        own = [one for one in (*config.ranges, *config.services) if ip_network(one).version == version]
        routes = [f"  route {network} unreachable;" for network in own]
        yield from ("protocol static {", f"  {_CHANNELS[version]};", *routes, "}", "")
    for name, networks in ((_EXPORT_RANGES, config.ranges), (_EXPORT_ALL, config.ranges + config.services)):
        accepted = [f"  if ( net = {network} ) then {{ accept; }}" for network in networks]
        yield from (f"filter {name} {{", *accepted, "  reject;", "}", "")
    # A router that reflects tells of others' Services, too, which each node has itself (addImportPolicies).
    pods = [f"  if ( net ~ {pool} ) then {{ accept; }}" for pool in config.pools]
    yield from (f"filter {_IMPORT} {{", *pods, "  reject;", "}", "")
    yield from _template(config, "hold time 90;")
    for peer in config.peers:
        yield from _session(
            config, peer, _EXPORT_ALL if peer.outside else _EXPORT_RANGES, f"filter {_IMPORT}"
        )


def _told(config: BgpConfig) -> Iterator[str]:
    """What others are told: own blocks, nothing below them, and pods' addresses that are of others' blocks."""
    yield "function calico_aggr ()"
    yield "{"
    for block in config.blocks:
        yield f"  if ( net = {block} ) then {{ accept; }}"
        yield f"  if ( net ~ {block} ) then {{ reject; }}"
    yield from ("}", "", f"filter {_EXPORT} {{", "  calico_aggr();")
    for pool in config.pools:
        yield f"  if ( net ~ {pool} ) then {{ accept; }}"
    yield from ("  reject;", "}", "", "filter calico_kernel_programming {")
    # The kernel has those by itself; BIRD 1 never gives it them.
    yield from ("  if ( source = RTS_DEVICE ) then { reject; }", "  accept;", "}", "")


def _kernel(version: int, imported: str, exported: str, *settings: str) -> Iterator[str]:
    yield "protocol kernel {"
    yield from (f"  {one}" for one in ("scan time 2;", *settings, "graceful restart;", "merge paths on;"))
    yield f"  {_CHANNELS[version]} {{ {imported} export {exported}; }};"
    yield from ("}", "")


def _template(config: BgpConfig, *settings: str) -> Iterator[str]:
    yield "template bgp bgp_template {"
    yield '  description "Connection to BGP peer";'
    yield "  debug { states };"
    yield "  multihop;"
    yield "  graceful restart;"
    yield from ("  connect delay time 1;", "  connect retry time 1;", "  error wait time 1,5;")
    yield from (f"  {one}" for one in settings)
    if config.silent:
        yield "  disabled;"
    yield from ("}", "")


def _session(config: BgpConfig, peer: BgpPeer, exported: str, imported: str = "all") -> Iterator[str]:
    version = ip_address(peer.address).version
    own = next(one for one in config.own if ip_address(one).version == version)
    yield f"protocol bgp {peer.name} from bgp_template {{"
    yield f"  local {own} as {config.number};"
    yield f"  neighbor {peer.address} as {config.number};"
    yield from (
        f"  {_CHANNELS[version]} {{",
        "    gateway recursive;",
        "    add paths on;",
        f"    import {imported};",
    )
    yield from (f"    export filter {exported};", "  };")
    if peer.passive:
        yield "  passive on;"
    yield from ("}", "")


def _of_router(config: BgpConfig) -> Iterator[str]:
    """The router's, which is none of Calico's: whoever is in the nodes' network may call."""
    for network in config.callers:
        version = ip_network(network).version
        own = next(one for one in config.own if ip_address(one).version == version)
        channel = _CHANNELS[version]
        yield from _kernel(version, "import none;", "where source = RTS_BGP")
        yield f"protocol bgp nodes_{channel} {{"
        yield "  debug { states };"
        yield f"  local {own} as {config.number};"
        yield f"  neighbor range {network} as {config.number};"
        yield f'  dynamic name "node_{channel}_";'
        yield from ("  multihop;", "  graceful restart;", *(["  rr client;"] if config.reflects else []))
        exported = "where source = RTS_BGP" if config.reflects else "none"
        yield f"  {channel} {{ gateway recursive; add paths on; import all; export {exported}; }};"
        yield from ("}", "")
