"""What namespaces are set to before anything is in them, by what they are for and the families that they speak. Pure.

Paths are below /proc/sys. What stands below `net/ipv4` without a family's own subject (ports, IPVS) is for both.
"""

from __future__ import annotations

from functools import cache

from emulab.model.families import IPV4, IPV6, Families

Sysctls = tuple[tuple[str, str], ...]

# Without this every link would send router solicitations and multicast reports of its own accord.
_NO_IPV6 = (("net/ipv6/conf/default/disable_ipv6", "1"),)
# Addresses and routes are planned: nobody is asked for them, and an address serves at once instead of after a second
# in which others could say that it is theirs (RFC 4862 section 5.4).
_IPV6 = (
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
)
_FORWARDING = {
    IPV4: (
        ("net/ipv4/ip_forward", "1"),
        # Replies may come another way than requests went (a VIP answered by its balancer), which is right here.
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
    ),
    IPV6: (("net/ipv6/conf/all/forwarding", "1"),),  # of `default`, and of every link, too
}


def _common(families: Families) -> Sysctls:
    return _IPV6 if IPV6 in families else _NO_IPV6


@cache
def host(families: Families) -> Sysctls:
    """The settings of a namespace in which programs run."""
    return (*_common(families), ("net/ipv4/ip_unprivileged_port_start", "0"))  # containerd's default for pods


@cache
def announcer(families: Families) -> Sysctls:
    """The settings of a place that tells its neighbours of its addresses."""
    more = (("net/ipv6/conf/all/ndisc_notify", "1"),) if IPV6 in families else ()
    return (*host(families), *more)


@cache
def switch(_families: Families) -> Sysctls:
    """The settings of the fabric, which has no addresses and so speaks no family."""
    return (
        *_NO_IPV6,
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ("net/bridge/bridge-nf-call-arptables", "0"),
    )


@cache
def forwarder(families: Families) -> Sysctls:
    """The settings of a router or a node, which forward packets."""
    return (*_common(families), *(setting for f in families for setting in _FORWARDING[f]))
