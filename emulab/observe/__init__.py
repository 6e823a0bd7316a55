"""Who watches: packets, the kernel's decisions and the servers' records, joined into the story of one request.

* `capture/`            reads from the kernel, and writes nothing
* `events`              the types of all evidence, and `Recording`, the whole of it
* `join/`               which packets are one packet, and one connection, from place to place. Pure
* `explain/`            where and why a request stopped, and how to mend it. Pure
* `story`, `hops`       connections, flights and decisions in causal order: the hops, and what they are made of
* `wording`             what hops say
* `totals`              what the time went to
* `path`                the result: `Path` and `Hop`; its JSON is section 4 of the contract
* `telling/`            the ladder, and what a terminal must not be sent. Pure
* `pcapng`              the frames as a capture file, with comments
* `target`              what to send a request to, as users write it
"""
