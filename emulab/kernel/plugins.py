"""The CNI plug-ins of this machine, and what of its kernel they need for Services."""

from __future__ import annotations

import os

FOLDERS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where plug-ins are: the CNI's own place, Debian's and Fedora's. Those of $CNI_PATH come first."""
PACKAGE = "containernetworking-plugins"  # Debian's and Ubuntu's
_BRIDGE_SETTINGS = "/proc/sys/net/bridge"


def folders() -> list[str]:
    """Where plug-ins are looked for."""
    given = os.environ.get("CNI_PATH", "").split(":")
    return list(dict.fromkeys([*(os.path.abspath(f) for f in given if f), *FOLDERS]))


def file_of(plugin: str) -> str:
    """The file of a plug-in, "" where there is none."""
    paths = (f"{folder}/{plugin}" for folder in folders())
    return next((path for path in paths if os.path.isfile(path)), "")


def filters_bridges() -> bool:
    """Whether what a bridge passes on meets the node's rules (br_netfilter). Without that, what a pod answers to
    another one of its node doesn't, and who has asked by a Service's address doesn't know it."""
    return os.path.isdir(_BRIDGE_SETTINGS)
