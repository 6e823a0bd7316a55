"""What is said on connections, a package for each protocol: for servers that speak it, and for everybody who asks one.

* `http1`: HTTP/1; HTTP/2 is to be its neighbour. `proxyprotocol`: the header of the PROXY protocol.

Sans-I/O and pure, and it knows no server.
"""
