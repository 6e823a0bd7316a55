"""What a network engineer has in a bag, for places of a lab: each a module, and a verb of the command line.

* `timing`: how long each part of a request takes, again and again, as `curl -w` tells it
* `certs`: what a server shows as its certificate, and which Secret it is of
"""
