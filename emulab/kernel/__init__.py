"""The only writer to Linux: it applies what a plan says and decides nothing.

* `netns`: network namespaces that are held by file descriptors alone, and work done inside them.
* `netlink`: rtnetlink messages as bytes, and sending many of them at once; `messages` encodes plan items.
* `nft`: the official libnftables binding; `elements`: those of sets and maps as netlink; `tables` writes with both.
* `iptables`: chains through iptables-nft-restore; `ipvs`: virtual servers; `conntrack`: flows that must be forgotten.
* `queries`: questions to the kernel over netlink, and their answers.
* `network`: brings a whole network state about, or back.
* `launch`, `isolate`: how a supervisor gets its own user, PID, mount and network namespace.
* `spawner`: a small process that forks servers, containers and what is `exec`uted into namespaces; `enter` is its core
  and `exec`'s: from a namespace description to a running program. `memory`: files for what is too long for a message.
* `sockets`: listening and client sockets in a given namespace; `taps`: what Python lacks for packet sockets;
  `perf`, `bpf`: tracepoints, and programs at them.
* `names`: the names under /run/netns; `cgroups`: where the kernel gives them.
* `folders`: those that nobody else can exchange, and removing what is in one; `inotify`: being told that one goes.
* `exec`: programs that have the terminal of who calls them; `programs`: programs outside any lab; `libc`: system
  calls that Python lacks.
* `probe`: what this kernel and this user may do.

Blocking calls live here; the lab calls them in threads.
"""
