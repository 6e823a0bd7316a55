"""nginx as an ingress: Debian's program, configured as ingress-nginx would configure its own.

* `text`: how nginx.conf is written. `conf`: the whole of it. `servers`: a server for each host, `locations`: a location
  for each path. `filters`: what filters are in it, a line for each kind. `reaching`: how backends are reached;
  `choosing`: which of several upstreams gets a request; `names`: how they are called.
* `unable`: what of a configuration this engine can't do.
* `logged`: what its access log tells, for records, metrics and the log in the format that was asked for.
* `server`: the server of the lab around it.

All but `server` is pure.
"""
