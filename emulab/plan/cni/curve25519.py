"""Keys of X25519 (RFC 7748), which are WireGuard's: made of names, so that a lab's are the same each time. Pure."""

from __future__ import annotations

import hashlib
from functools import lru_cache

_P = 2**255 - 19
_A24 = 121_665
_BASE = 9


@lru_cache(maxsize=4096)
def private_key(name: str) -> bytes:
    """The private key of whoever has this name."""
    scalar = bytearray(hashlib.sha256(name.encode()).digest())
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return bytes(scalar)


@lru_cache(maxsize=4096)
def public_key(private: bytes) -> bytes:
    """The public key of a private one: section 5 of the RFC, the Montgomery ladder from the base point."""
    scalar, x1 = int.from_bytes(private, "little"), _BASE
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = scalar >> bit & 1
        if swap != now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % _P, b * b % _P
        e = aa - bb
        da, cb = (x3 - z3) * a % _P, (x3 + z3) * b % _P
        x3, z3 = (da + cb) ** 2 % _P, x1 * (da - cb) ** 2 % _P
        x2, z2 = aa * bb % _P, e * (aa + _A24 * e) % _P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")
