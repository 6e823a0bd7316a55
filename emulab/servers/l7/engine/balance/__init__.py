"""Whose turn it is: among the upstreams of a route, and among the servers of an upstream. Pure.

An algorithm is a class of a module here and a line of the table `BALANCERS`, by its type in `config.balance`. Servers
come and go, and are left out for a while; what an algorithm knows of those that stay it keeps.

* `turn`: what a request has to do with its balancer, and the shape of an algorithm.
* `group`: the servers of one upstream, with all that decides about them. `shares`, `canaries`: among upstreams.
* `roundrobin`, `drawn`, `ewma`, `hashing`, `affinity`: the algorithms. `ring`: consistent hashing; `variables`: keys.
* `limits`: how much an upstream is asked at once. `outliers`: who is left out.
"""

from __future__ import annotations

from emulab.servers.l7.engine.balance.group import Group
from emulab.servers.l7.engine.balance.shares import Shares

__all__ = ["Group", "Shares"]
