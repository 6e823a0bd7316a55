"""Real programs in the place of servers of our own: they are configured from what our own would be told.

* `running`: a program with its sockets, files and reloads, whatever it is.
* `hosting`: an ingress that is a program; `logged`: what its log tells of a request; `backendfiles`: what it needs in
  files to reach backends; `nginx`, `haproxy`: its makes.
* `balancer`: HAProxy as an L4 balancer; `keepalived`: what moves the addresses of one between nodes.
* `bird`: a speaker of BGP.
* `names`: the server around a name server; `unbound`, `dnsmasq`: makes of those.

A program listens at the sockets that its server was given, so a reload or a restart of either loses no connection; what
it prints is the server's log. Its files are in a mount namespace of the server's: nothing is written to the host.
"""
