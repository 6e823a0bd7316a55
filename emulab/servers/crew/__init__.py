"""Several processes that serve as one: each has listening sockets of its own at the same addresses (SO_REUSEPORT).

The first one is the leader. It is what a server of one process is: driven from outside, it serves like the others. It
drives them in turn by the protocol of `host`, so that they look like one from outside: what it is told it tells them,
and what they tell it adds to its own. A worker that has ended is started anew by whoever started it; the leader takes
the new one in.

* `remote` a server's process, seen from who drives it
* `leader` the other workers of a server, seen from its leader
* `listening` their sockets
"""
