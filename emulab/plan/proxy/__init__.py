"""kube-proxy: from Services and EndpointSlices to what a node's kernel or proxy process does. Pure.

* `intents`      what has to be brought about, whatever the mode
* `modes`        the modes by name: each turns the intents of a node into rules, links or servers
* `nftables`     flat maps (`affinity`: chains of Services with session affinity; `tables`: their sum)
* `iptables`     kube-proxy's chains
* `ipvs`         the kernel's IPVS, a device with all addresses, and rules for the rest
* `userspace`    a process a node, and rules that lead to it
* `health`       what the proxies tell about themselves, and about Services to balancers
* `filters`      nftables rules of several modes: what nobody serves, source ranges
"""
