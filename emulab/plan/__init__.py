"""What must exist: pure functions from objects to the wanted state of every namespace.

* `links/`: kernel items, a kind a module: links, addresses, neighbours, routes and rules of policy routing.
* `state`: the other value types: namespaces, nftables rulesets, servers, places; a `World` is all of them.
* `difference`: what to remove and what to add to come from one network state to another; `rules/`: the same for rules.
* `topology`, `nodes`, `pods`: links, addresses and routes of places (`draft` collects); `sysctls`: what namespaces
  are set to; `mesh`: the ways between nodes, n² entries from a value a node.
* `standins`: who answers for pods.
* `cni/`: the pods' networks, a module each, and `hostports`; `endpoints`: where Services lead; `proxy/`: kube-proxy, in
  several modes.

Addresses are of the cluster's families (`model/families`): nothing here says `ip` or `127.0.0.1`.

* `dns` (outside), `clusterdns`, `balancers`, `l7/`: the configuration of the servers.
* `faults/`: what is broken on purpose.
* `owners`: whose an address is, in words (`owner`).
* `world`: the sum of it all, of which a change plans its part alone (`kept`: parts with what they were planned from;
  `persistent`: large mappings of which little changes); `render` prints a world for people.

Nothing here does I/O, reads a clock or draws a random number.
"""
