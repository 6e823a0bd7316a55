"""The networks outside the cluster that emulab's own kinds name."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from emulab.model.checks import one_of

NETWORKS = {"vpc": ip_network("10.0.0.0/24"), "internet": ip_network("203.0.113.0/24")}
"""Where the virtual addresses of a LoadBalancer come from, by its network."""

FIXED_ADDRESSES = {
    ip_address("203.0.113.1"): "the NAT gateway's",
    ip_address("10.0.0.1"): "the router's",
    ip_address("10.0.0.2"): "the resolver's",
    ip_address("10.0.0.10"): "that of public-lb in the vpc",
}
"""Addresses of these networks that every lab gives to places of its own."""

UNDERLAYS = (*NETWORKS.values(), ip_network("198.51.100.0/24"))

network = one_of(*NETWORKS)
