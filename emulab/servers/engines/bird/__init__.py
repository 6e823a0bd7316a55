"""Debian's BIRD as a speaker of BGP, configured as Calico's confd does it.

* `conf`    bird.conf, of a node and of the router
* `control` what BIRD says at its control socket, which is where birdc asks
* `server`  all of it as a server of the lab
"""
