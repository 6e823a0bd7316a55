"""The way to a target, hop by hop, as traceroute(8) finds it: by packets that may pass so many routers and no more.

* `packets`: what is on the wire: echo requests, and the messages of ICMP about packets of ours
* `probes`: one packet of ours and its answer, a class for each protocol
* `way`: the hops, and where a packet got another destination on its way, as the kernels of the places track it
"""
