"""The L4 balancer: a full TCP proxy, and UDP by client address.

It stands where a cloud's network load balancer or HAProxy in TCP mode stands: before the nodes. It knows
addresses and ports, never HTTP. A client that may not come in, or for whom no target is healthy, is reset.

* `acl`, `balance`, `frontend` who may come, who is tried in which order, health (pure, time passed in)
* `acceptor`, `tcp` clients that come, and their sessions with targets
* `pump` the bytes between two sockets
* `udp` datagrams by client address
* `health` active checks
* `server` listeners and configuration

Records; all but `health` have protocol, connection (its number joins them), client and local, the address
listened on:

    proxy-accept    nothing more
    proxy-try       upstream, target: a connection to it is being opened
    upstream-error  upstream, target, reason: a target that couldn't be reached; the next one is tried
    proxy-connect   upstream_source, upstream, target, reason (of the pick, with the attempts before it)
    drop            reason, and acl, the ranges, where these refused the client
    health          frontend, target, address, healthy
"""
