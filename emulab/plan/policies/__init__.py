"""Policies, enforced: on each node a table of nftables, whatever kube-proxy's mode. Pure.

* `facts`     what of Pods and Namespaces counts
* `verdicts`  who may reach whom at which port, by the policies alone: what `emulab policy` asks
* `compiled`  a policy as rules, and the sets of pods that these ask
* `table`     the table of a node
* `tables`    those of all nodes, from change to change

Where a node asks, behind kube-proxy's DNAT and before masquerading, so that rules see pods as pods:

    forward   what its pods send and what comes to them; between two of its pods both in one pass
    input     what its pods send to the node itself
    output    what IPVS sends on, which comes this way; what the node itself sends is never asked about, as the
              kubelet has to reach its pods

A flow is asked about once, when it begins: a denial that comes later ends nothing (as with Calico's iptables and
nftables data planes), an answer always comes back. A pod reaches itself. Denied is dropped without a word.

The cost of a packet that begins a flow: a look-up by its source, one by its destination, and where these pods are
isolated the rules of their own policies. Pods that the same rules are about share a chain, and policies with the same
peers share a set, so a label that changes is an element that comes or goes.
"""
