"""Domain names as tuples of their labels, leftmost first; text is read and shown by dnslib.

The ancestors of a name are slices of it, and comparing needs no decoding. Names are looked up in lower case
(RFC 4343).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from dnslib import DNSLabel

Name = tuple[bytes, ...]
MAX_NAME = 253  # octets, with a dot between labels: 255 on the wire (RFC 1035 section 2.3.4)
MAX_LABEL = 63


def lower(name: Name) -> Name:
    """The name as it is looked up."""
    return tuple([label.lower() for label in name])


def suffixes(name: Name) -> Iterator[Name]:
    """The name itself, then each of its ancestors, ending with the root."""
    return (name[at:] for at in range(len(name) + 1))


@lru_cache(maxsize=65536)
def from_text(text: str) -> Name:
    """A textual name, taken as absolute with or without its last dot; case is kept.

    Raises ValueError for empty or overlong labels and overlong names.
    """
    label = DNSLabel(text)
    if len(label) > MAX_NAME:
        raise ValueError(f"{text!r} is over {MAX_NAME} octets")
    name: Name = label.label
    return name


def to_text(name: Name) -> str:
    """The absolute textual form, with the last dot; octets that can't be printed are escaped."""
    return str(DNSLabel(name))
