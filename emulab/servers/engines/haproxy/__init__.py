"""HAProxy as an ingress: Debian's program, configured with the same routes.

* `conf`: haproxy.cfg. `maps`: which route a request belongs to, as files that HAProxy looks a host and a path up in;
  `filters`: what filters are in a backend, a line for each kind; `pages`: nginx's answers, which clients know;
  `reaching`: how backends are reached.
* `unable`: what of a configuration this engine can't do. `logged`: what its log tells. `server`: its make.

All but `server` is pure. A route is a backend of its own, as its policy is. HAProxy writes the names of fields in lower
case, compares paths as they come (with percent-encoding decoded), and knows the length of a body by what its head says.
"""
