"""How backends are reached, in the parameters of HAProxy's servers. Pure."""

from __future__ import annotations

from emulab.servers.engines.backendfiles import file_of, own_pair
from emulab.servers.engines.haproxy.text import quoted
from emulab.servers.l7.config import Policy, UpstreamTLS
from emulab.servers.l7.config.reaching import GRPC, GRPCS, HTTPS


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
