"""kube-proxy: from Services and EndpointSlices to what a node's kernel or proxy process does. Pure.

* `ports`        the ports of all Services, and which of them changed
* `intents`      what has to be brought about for a port on a node, whatever the mode
* `proxies`      the sum of all intents for each node, one for those that have the same
* `modes/`       a module each: the sum of intents as rules, links or servers
* `flows`        who may go on to have UDP flows
* `health`       what the proxies tell about themselves, and about Services to balancers
* `filters`      nftables rules of several modes: what nobody serves, source ranges; and the words of a family
* `meanings`     what the rules of all modes are for
* `affinity`     chains of Services with session affinity; `tables`: a table that is changed in part
"""
