"""What a network engineer has in a bag, for places of a lab: each a module, and a verb of the command line.

* `timing`: how long each part of a request takes, again and again, as `curl -w` tells it
* `certs`: what a server shows as its certificate, and which Secret it is of
* `traceroute`: the way to a target, and where packets were translated on it
* `connections`: sockets and tracked connections, counted by place and by object
* `changes`: what is different between an object and what it was, for `watch`
* `monitor`: every packet as an event, with the objects' names
* `graph`: how places are joined, and what has passed there
"""
