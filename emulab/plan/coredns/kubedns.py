"""The ConfigMap of kube-dns, CoreDNS' predecessor, which GKE has: stub domains and upstream name servers. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from emulab.model.addresses import is_address
from emulab.plan.coredns.drafting import absolute
from emulab.plan.coredns.lines import is_port

STUB_DOMAINS, UPSTREAM = "stubDomains", "upstreamNameservers"
_MOST_UPSTREAM = 3
_DOMAIN = re.compile(r"[-\w]{1,63}(\.[-\w]{1,63})*\.?", re.ASCII)
_FORWARD = "forward . /etc/resolv.conf"


class KubeDnsProblem(NamedTuple):
    """What is wrong with a key."""

    key: str
    why: str


def as_corefile(data: Mapping[str, str], stock: str) -> str:
    """The stock Corefile with what the ConfigMap says; what is wrong there says nothing."""
    stubs, upstream = (_read(data, key)[0] for key in (STUB_DOMAINS, UPSTREAM))
    if upstream:
        stock = stock.replace(_FORWARD, f"forward . {' '.join(upstream)}")
    blocks = (
        f"{domain}:53 {{\n    errors\n    cache 30\n    forward . {' '.join(servers)}\n}}\n"
        for domain, servers in (stubs or {}).items()
    )
    return stock + "".join(blocks)


def problems(data: Mapping[str, str]) -> Iterator[KubeDnsProblem]:
    """What is wrong, or not known."""
    for key in data:
        if key not in (STUB_DOMAINS, UPSTREAM):
            yield KubeDnsProblem(key, f"isn't followed; {STUB_DOMAINS} and {UPSTREAM} are")
        elif why := _read(data, key)[1]:
            yield KubeDnsProblem(key, why)


def _read(data: Mapping[str, str], key: str) -> tuple[Any, str]:
    """The value of a key, and what is wrong with it."""
    if not (text := data.get(key, "").strip()):
        return None, ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, f"is no JSON: {error}"
    if key == UPSTREAM:
        if not isinstance(value, list) or len(value) > _MOST_UPSTREAM or not all(map(_is_server, value)):
            return None, f'is no list of at most {_MOST_UPSTREAM} addresses such as ["198.51.100.53"]'
    elif not isinstance(value, dict) or not all(
        _DOMAIN.fullmatch(domain) and isinstance(servers, list) and servers and all(map(_is_server, servers))
        for domain, servers in value.items()
    ):
        return None, 'is no mapping of domains to name servers such as {"corp.test": ["10.0.0.53"]}'
    elif twice := [one for one, times in Counter(map(absolute, value)).items() if times > 1]:
        return None, f"has {twice[0]} twice"
    return value, ""


def _is_server(value: object) -> bool:
    """An address, with or without a port."""
    if not isinstance(value, str):
        return False
    host, colon, port = value.rpartition(":")
    return is_address(value) or (bool(colon) and is_port(port) and is_address(host.strip("[]")))
