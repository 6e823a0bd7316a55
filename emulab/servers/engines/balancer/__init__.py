"""HAProxy in TCP mode in the place of our own L4 balancer, configured from what that would be told.

* `names`   how frontends and targets are called in its files; `conf` haproxy.cfg; `unable` what it can't do
* `logged`  what its log tells, as records of our own balancer; `statistics` what it counts, as its status
* `control` what it is asked and told while it runs; `server` all of it as a server of the lab
"""
