"""VRRP: which of several nodes has an address (RFC 9568, RFC 3768).

* `packet`    an advertisement on the wire; `announce` what neighbours are told of an address that has moved
* `machine`   one virtual router's states, timers and what it sends (pure, time passed in)
* `flows`     connections that are forwarded, told to the other node
* `transport` its sockets; `server` all of it as a server of the lab

The addresses stand on the link itself and no virtual MAC is used, as keepalived has it unless it is told otherwise.
Addresses of the other family go along with those that are advertised (keepalived's virtual_ipaddress_excluded).

Records: `vrrp`, with state (active, standby, fault), and why.
"""
