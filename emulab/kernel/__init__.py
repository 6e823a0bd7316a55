"""The only writer to Linux: it applies what a plan says and decides nothing.

* `network`: brings a whole network state about, or back.
* `netns`: network namespaces that are held by file descriptors alone, and work done inside them; `ahead`: making
  many in a process beside; `names`: their names under /run/netns; `sockets`: listening and client sockets in one.
* `netlink/`: its messages, as tables of attributes; `links/`: what the kernel is told of each kind of item;
  `rules/`: nftables, iptables, IPVS, conntrack.
* `processes/`: the supervisor's own namespaces, and programs in those of a lab.
* `taps`: what Python lacks for packet sockets; `perf`, `bpf`: tracepoints, and programs at them.
* `folders`: those that nobody else can exchange, and removing what is in one; `inotify`: being told that one goes.
* `libc`: system calls that Python lacks; `mounttable`: what is mounted; `probe`: what this kernel and user may do, with
  what is looked up (`machinefeatures`); `machine`: limits that all labs of the machine share.

Blocking calls live here; the lab calls them in threads.
"""
