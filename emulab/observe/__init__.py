"""Who watches: packets, the kernel's decisions and the servers' records, joined into the story of one request.

Evidence (opens sockets inside namespaces and reads; writes nothing):

* `filters`, `rings`    packet taps: AF_PACKET sockets with a kernel filter and a ring in shared memory
* `netfilter`           nft trace events, conntrack entries, rules by their handle, over nfnetlink
* `routes`              routes, links and neighbours, over rtnetlink
* `drops`               the kernel's own reasons for dropping packets, where it lets us read them

Joining (pure, on what `events` describes):

* `events`              the types of all evidence, and `Recording`, the whole of it
* `packets`, `dissect`  frames decoded; DNS, HTTP and TLS in what they carry
* `sightings`           all packets by flow and by identity, decoded when asked for
* `flows`               which packets are the same packet, and the same connection, from place to place
* `needs`               what the kernel and the lab are to be asked about the packets that were seen
* `decisions`           translations, refusals and routes with their evidence
* `story`, `wording`    connections, flights and decisions in causal order: the hops, and what they say
* `failures`            where and why a request stopped, and how to mend it: `case` is what its experts look at,
                        `names`, `proxied`, `refusals`, `astray` and `unreached` are experts, `progress` says how
                        far a connection came
* `totals`              what the time went to
* `path`                the result: `Path` and `Hop`; its JSON is section 4 of the contract
* `pcapng`              the frames as a capture file, with comments
* `target`              what to send a request to, as users write it
"""
