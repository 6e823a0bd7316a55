"""What the kernel does to packets, as it is told.

* `nft`: the official libnftables binding; `elements`: those of sets and maps as netlink; `tables` writes with both.
* `iptables`: chains through iptables-nft-restore; `ipvs`: virtual servers; `conntrack`: flows that must be forgotten.
* `wireguard`: the peers of a device.
"""
