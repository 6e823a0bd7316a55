"""HAProxy as an ingress: Debian's program, configured with the same routes.

* `conf`: haproxy.cfg and the files beside it, which are in the `places`. `frontend`: who asks for what; `maps`: which
  route a request belongs to, as files that HAProxy looks a host and a path up in. `backends`: what becomes of it.
* `variants`: more backends of a route, for canaries and for servers that are reached as clients come; `balancing`:
  whose turn it is, and cookies of affinity; `reaching`: how servers are reached; `verifying`: certificates of clients.
* `filters`: what filters are in a backend, a line for each kind; `erring`: another server's answers in the place of
  errors; `pages`: nginx's answers, which clients know. `text`, `variables`: how words and nginx's variables are
  written.
* `ingress.lua`: what haproxy.cfg has no words for.
* `unable`: what of a configuration this engine can't do. `logged`: what its log tells. `server`: its make.

All but `server` is pure. A route is a backend of its own, as its policy is. HAProxy writes the names of fields in lower
case, and knows the length of a body by what its head says.
"""
