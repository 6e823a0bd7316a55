"""Debian's keepalived in the place of our own VRRP, configured from what that would be told.

* `conf`   keepalived.conf, and what it says of its state
* `server` all of it as a server of the lab
"""
