"""Evidence: opens sockets inside namespaces and reads; writes nothing.

* `filters`, `rings`    packet taps: AF_PACKET sockets with a kernel filter and a ring in shared memory
* `netfilter`           nft trace events, conntrack entries, rules by their handle, over nfnetlink
* `routes`              routes, links and neighbours, over rtnetlink
* `listeners`           who listens, over sock_diag
* `drops`               the kernel's own reasons for dropping packets, where it lets us read them
"""
