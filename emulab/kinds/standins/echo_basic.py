"""echo-basic, the backend of the Gateway API's conformance suite, which the stand-ins of all images are modelled on.

It speaks HTTP at one port and HTTPS at another. Its ports for HTTP/2 in clear, gRPC, and bare TCP and UDP echo are
those of the stand-in that has no image's manners.
"""

from __future__ import annotations

from emulab.kinds.standins.asked import ImageArguments, Sockets, Speech, number


def sockets(asked: ImageArguments) -> Sockets | None:
    env = asked.env
    if any(env.get(f"{kind}_ECHO_SERVER") for kind in ("GRPC", "TCP", "UDP")):
        return None
    port = number(env.get("HTTP_PORT", ""), 3000)
    told = {"port": str(port)}
    told |= {key: env[name] for name, key in _NAMES.items() if name in env}
    speech = Speech("echo-basic", told)
    found = {("TCP", port): speech, ("TCP", number(env.get("H2C_PORT", ""), 3001)): speech}
    if env.get("TLS_SERVER_CERT") and env.get("TLS_SERVER_PRIVKEY"):
        files = {key: env[name] for name, key in _FILES.items() if env.get(name)}
        found["TCP", number(env.get("HTTPS_PORT", ""), 8443)] = speech._replace(files=files)
    return found


_FILES = {
    "TLS_SERVER_CERT": "certificate",
    "TLS_SERVER_PRIVKEY": "key",
    "TLS_CLIENT_CACERTS": "authorities",
}
"""The variables that name the files of its certificate, and of who vouches for clients, and what options call these."""

_NAMES = {"NAMESPACE": "namespace", "INGRESS_NAME": "ingress", "SERVICE_NAME": "service", "POD_NAME": "pod"}
"""The variables that say who it is, and what answers call that."""
