"""The machines of the L7 engine: events in, with the time, commands out. No socket, clock or random number is here.

* `connection`: a client's connection over HTTP/1: requests in order, keep-alive, time-outs, the end.
* `exchange`: one request and its answer: who gets it, tries, limits, bodies, pages. `records`: what is told of it.
  `erring`: another upstream's answer in the place of an error. `aside`: who else is asked for a route.
* `commands`: what both ask of their shell.
* `surroundings`: what the machines of one proxy share.
* `routes`: which route a request belongs to; `conditions`: what a route asks besides host and path; `balance`: whose
  turn it is; `snapshot`: a configuration, checked whole.
* `filters`: what routes change on the way, and what they answer by themselves.
"""
