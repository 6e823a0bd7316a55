"""What Faults break, brought about in a world: an effect (`kinds.faults.effects`) a module, and a line in `faulty`.

* `faulty`: the world with all that is broken in it; without Faults it is the very same
* `wire`: frames that the fabric loses
* `bad`: cables that are slow, narrow or bad (`emulab.plan.impaired` has the way)
* `filtered`: what a node's firewall drops
* `ways`: an overlay's entries that lead elsewhere
* `late`: pods in which nobody listens yet; `searching`: pods that search more domains than they need
* `servers`: what resolvers, the ingress and stand-ins are told wrong
* `stuck`: a kube-proxy that follows no more
* `askew`: neighbours and ways back that are wrong
* `stuck`: a kube-proxy that follows no more, or forgets no UDP flows
* `reused`: an IPVS that takes new connections for old ones

A world is planned as if nothing was broken, and then broken. So whatever a Fault does is undone by the difference of
two worlds, as every change is.
"""
