"""Names of files and kernel objects that are made of objects' names, within the bounds that those have."""

from __future__ import annotations

from hashlib import blake2b

NAME_MAX = 255
"""Octets of a file's name (limits.h), so of a cgroup's as well."""
_DIGEST = 6  # octets, in hexadecimal digits behind what is left of the name


def shortened(name: str, limit: int) -> str:
    """The name itself, or its beginning and a hash of all of it when it is longer than `limit` (octets of ASCII)."""
    if len(name) <= limit:
        return name
    digest = blake2b(name.encode(), digest_size=_DIGEST).hexdigest()
    return f"{name[: limit - len(digest) - 1]}-{digest}"
