"""What kube-proxy sets a node's connection tracking to: `conntrack` of its configuration
(KubeProxyConntrackConfiguration in kubeproxy.config.k8s.io/v1alpha1), as far as the kernel has it for each namespace.

`maxPerCore` and `min` aren't among it: how many flows are tracked is the whole machine's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from emulab.model.checks import Problems, boolean, mapping, show, string, wrong

_PATH = "net/netfilter/nf_conntrack_"
_DURATION = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


class Timeout(NamedTuple):
    """A setting and what kube-proxy sets it to where nothing is said; 0 leaves it as the kernel has it."""

    sysctl: str
    seconds: int

    @property
    def path(self) -> str:
        """The sysctl, below /proc/sys."""
        return f"{_PATH}{self.sysctl}"


TIMEOUTS = {
    "tcpEstablishedTimeout": Timeout("tcp_timeout_established", 24 * 3600),
    "tcpCloseWaitTimeout": Timeout("tcp_timeout_close_wait", 3600),
    "udpTimeout": Timeout("udp_timeout", 0),
    "udpStreamTimeout": Timeout("udp_timeout_stream", 0),
}


def duration(value: Any) -> Problems:
    """Whether a value is one, of whole seconds."""
    if string(value):
        return string(value)
    if seconds(value) is None:
        return wrong(f"{show(value)} is not a duration of whole seconds, such as 24h0m0s")
    return ()


def seconds(text: str) -> int | None:
    """The seconds of a duration as Go writes it (`1h30m`, `60s`); None for what is none."""
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return 0 if text == "0" else None
    return sum(int(number) * _SECONDS[unit] for unit, number in found.groupdict().items() if number)


conntrack = mapping(
    {**dict.fromkeys(TIMEOUTS, duration), "tcpBeLiberal": boolean},
    closed=True,
)


def settings(given: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The sysctls of a node, below /proc/sys."""
    found = {}
    for field, timeout in TIMEOUTS.items():
        asked = seconds(given[field]) if field in given else timeout.seconds
        if asked:
            found[timeout.path] = str(asked)
    if given.get("tcpBeLiberal"):
        found[f"{_PATH}tcp_be_liberal"] = "1"
    return tuple(found.items())
