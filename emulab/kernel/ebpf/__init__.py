"""Services translated by BPF programs at a node's links, as Cilium does it instead of a kube-proxy.

* `assembly`     instructions with labels instead of offsets
* `layouts`      what keys and values of the maps look like, for programs and for whoever writes them
* `frames`       what a packet is, and what is written into it
* `programs`     the programs: what a packet meets
* `entries`      what the maps hold, as values, and the keys by which it is found
* `translator`   maps and programs of one node, and what they are told of Services
* `trial`        whether all that can be done here
"""
