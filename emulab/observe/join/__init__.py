"""From evidence to packets that are the same packet, and to connections. Pure.

* `packets`, `dissect`  frames decoded; DNS, HTTP and TLS in what they carry
* `sightings`           all packets by flow and by identity, decoded when asked for
* `flows`               which packets are the same packet, and the same connection, from place to place
* `proxying`            which connections proxies started for a request
* `needs`               what the kernel and the lab are to be asked about the packets that were seen
* `decisions`           translations, refusals and routes with their evidence
"""
