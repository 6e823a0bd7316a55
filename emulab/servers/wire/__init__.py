"""What is said on connections, a package for each protocol: for servers that speak it, and for everybody who asks one.

* `http1`: HTTP/1. `http2`: HTTP/2, its frames by a library. `proxyprotocol`: the header of the PROXY protocol.

Sans-I/O and pure, and it knows no server.
"""
