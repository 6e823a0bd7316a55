"""The stand-in for a container image: an HTTP server that tells what it received, and a UDP echo.

One process stands in for hundreds of pods; every listening socket belongs to one of them, and the pod's
identity goes into each answer. The JSON has the shape of the echo server of the Kubernetes ingress and
Gateway API conformance suites; a few paths (`/status/CODE`, `/delay/SECONDS`, …) do what they say.

* `answers` request → answer, pure
* `websocket` frames → frames (sans-I/O, RFC 6455); `grpchealth` the same of HTTP/2, for gRPC's health alone
* `tls` between connection and transport, where the client begins so
* `connection` one TCP connection: order, flow control, ending; `resetting`: with a reset
* `datagrams` UDP
* `server` listeners, identities, draining

Records, both with namespace, pod, client and local:

    request   method, path, status, duration_us; told when the answer has been written
    datagram  size, in octets
"""
