"""What must exist: pure functions from objects to the wanted state of every namespace.

* `state`: the value types: kernel items, nftables rulesets, servers, places; a `World` is all of them.
* `difference`: what to remove and what to add to come from one network state to another; `rulesets`: the same for
  one nftables table, `iptables_script` for chains of iptables.
* `controllers/`: objects to objects, as Kubernetes' controllers do it: pods, nodes for them, endpoints.
* `addressing`: who gets which address; deterministic, so that the same manifests give the same ones.
* `system`, `nodes`: the objects that a cluster has without being asked; `nodes` plans their overlay too.
* `topology`, `pods`: links, addresses and routes of places and pods, and the pods' stand-ins (`draft` collects).
* `endpoints`: where Services lead; `proxy/`: kube-proxy, in several modes.
* `dns`, `balancers`, `ingress`: the configuration of the servers.
* `tracing`: the rules that mark one request's packets; `owners`: whose an address is, in words.
* `world`: puts it all together; `narrow`: what a change of endpoints alone changes there (`persistent`: mappings of
  which only little changes); `render` prints a world for people.

Nothing here does I/O, reads a clock or draws a random number.
"""
