"""How backends are reached, in the parameters of HAProxy's servers. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.engines.backendfiles import file_of, own_pair
from emulab.servers.engines.haproxy.text import quoted
from emulab.servers.l7.config import Policy, UpstreamTLS
from emulab.servers.l7.config.reaching import AUTO_HTTP, GRPC, GRPCS, HTTPS


def parameters(policy: Policy, folder: str) -> str:
    """What is said of each server of a backend, with a space before it."""
    reach = policy.reach
    if reach.protocol == GRPC:
        return " proto h2"
    if reach.protocol == GRPCS:
        return " ssl verify none alpn h2 proto h2"
    return _secure(reach.tls, folder) if reach.protocol == HTTPS else ""


def _secure(tls: UpstreamTLS, folder: str) -> str:
    versions = sorted(tls.protocols)
    words = ["", "ssl", f"ssl-min-ver {versions[0]}", f"ssl-max-ver {versions[-1]}"]
    if tls.verify:
        authorities = f"{folder}/{file_of(tls.authorities)}"
        words.append(f"verify required ca-file {authorities} verifyhost {quoted(tls.name)}")
    else:
        words.append("verify none")
    if tls.server_name:
        words.append(f"sni str({tls.name})")
    if tls.ciphers != "DEFAULT":
        words.append(f"ciphers {quoted(tls.ciphers)}")
    if pair := own_pair(tls):
        words.append(f"crt {folder}/{file_of(pair)}")
    return " ".join(words)


def not_done(policy: Policy) -> Iterator[str]:
    """What of it HAProxy can't do."""
    if policy.reach.protocol == AUTO_HTTP:
        yield "haproxy's servers are reached in one way, whatever the client speaks: AUTO_HTTP is HTTP"
    if policy.http_version != "1.1":
        yield f"haproxy doesn't ask in HTTP/{policy.http_version}"
    if policy.reach.tls.verify and policy.reach.tls.depth != 1:
        yield "haproxy knows no depth of certificates"
