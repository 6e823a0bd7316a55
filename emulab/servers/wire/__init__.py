"""What is said on connections, a package for each protocol: for servers that speak it, and for everybody who asks one.

* `http1`: HTTP/1, the only one so far. HTTP/2 and PROXY are to be its neighbours.

Sans-I/O and pure, and it knows no server.
"""
