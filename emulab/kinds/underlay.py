"""The addresses outside of every cluster: of its underlay networks, and of the places that each lab has there."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address

from emulab.model.addresses import IPAddress
from emulab.model.objects import Object

INTERNET = IPv4Network("198.51.100.0/24")
VPC = IPv4Network("10.0.0.0/24")
PUBLIC_VIPS = IPv4Network("203.0.113.0/24")
ROUTER_INTERNET, ROUTER_VPC = INTERNET[1], VPC[1]
NAT_ADDRESS = PUBLIC_VIPS[1]
RESOLVER_INTERNET, RESOLVER_VPC = INTERNET[53], VPC[2]
DNS_ADDRESS = INTERNET[54]
PUBLIC_LB_VIP, PUBLIC_LB_VPC = PUBLIC_VIPS[10], VPC[10]


def underlay_address(o: Object) -> IPAddress | None:
    """The address in its network that a Client, LoadBalancer or Node has been given."""
    text = o.status.get("address")
    return ip_address(text) if text else None
