"""Who answers: DNS, the L4 balancer, who speaks VRRP for it, who speaks BGP, the HTTP ingress, the stand-in for
container images, kube-proxy about itself; and `logs`, which answers nobody and keeps what all of them print.

Every server is a package here: a core that is sans-I/O (bytes or messages in, effects out, time as an
argument) and a thin asyncio shell around it. Configuration arrives as plain data, which the dataclasses of its module
`config` describe (the one module of a server that others know), and listening sockets arrive open, made by somebody
else in the right network namespace; a server knows nothing of Kubernetes, namespaces or the lab that runs it.

`base` holds the interface, `configuration` leads from those dataclasses to plain data and back, `told` to the file
that a process gets, of which `late` reads some when it is asked for and `texts` writes that; `kinds` lists which there
are, `host` is the process that serves, driven over one Unix socket; `wire` has what is said on connections, a package
for each protocol; `streams` are connections over TCP and TLS, and how they are made; `stub` resolves names as a
place's resolv.conf says. `records` keeps what a server tells while somebody records it, `journal` and `accesslog`
write lines of requests, `patches` are changes of a configuration, `selfsigned` makes certificates.

Modules on which a server's speed depends may be compiled (`emulab.compiled`), which whoever imports a server finds.
"""

from __future__ import annotations

from emulab import compiled

compiled.use()
