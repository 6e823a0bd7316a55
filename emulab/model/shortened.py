"""Names of files and kernel objects that are made of objects' names, within the bounds that those have."""

from __future__ import annotations

from hashlib import blake2b

NAME_MAX = 255
"""Octets of a file's name (limits.h), so of a cgroup's as well."""
_DIGEST = 6  # octets, in hexadecimal digits behind what is left of the name


_LONGEST_LOG = NAME_MAX - len(".log.new")


def log_name(*parts: str) -> str:
    """The file's name of a log: of `NAMESPACE`, `POD` and `CONTAINER`, or of a server."""
    return shortened(".".join(parts).replace("/", "."), _LONGEST_LOG) + ".log"


def shortened(name: str, limit: int) -> str:
    """The name itself, or its beginning and a hash of all of it when it is longer than `limit` (octets of ASCII)."""
    if len(name) <= limit:
        return name
    digest = blake2b(name.encode(), digest_size=_DIGEST).hexdigest()
    return f"{name[: limit - len(digest) - 1]}-{digest}"
