"""kube-proxy: from Services and EndpointSlices to what a node's kernel or proxy process does. Pure.

* `intents`      what has to be brought about, whatever the mode
* `modes/`       a module each: it turns the intents of a node into rules, links or servers
* `health`       what the proxies tell about themselves, and about Services to balancers
* `filters`      nftables rules of several modes: what nobody serves, source ranges; and the words of a family
* `affinity`     chains of Services with session affinity; `tables`: a table that is changed in part
"""
