"""Whether a password is the one of a hash, in the formats of htpasswd(1): what nginx reads in `auth_basic_user_file`.

`$apr1$` (Apache's MD5), `{SHA}`, `{SSHA}` and `{PLAIN}` are computed here; everything else is left to crypt(3) of the
machine: bcrypt, SHA-256 and -512, the older ones. A bcrypt takes as long as a hundred requests, on purpose.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import md5, sha1

Crypt = Callable[[bytes, bytes], bytes | None]
"""crypt(3): the hash of a password by the method and salt of another hash; None where there is none."""

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


def matches(password: bytes, known: str, crypt: Crypt) -> bool | None:
    """Whether a password is that of a hash; None where nothing here can tell."""
    for prefix, hashed in (("$apr1$", apr1), ("{SHA}", _sha), ("{SSHA}", _ssha), ("{PLAIN}", _plain)):
        if known.startswith(prefix):
            return _same(hashed(password, known), known)
    found = crypt(password, known.encode())
    return None if found is None else _same(found.decode("latin-1"), known)


def _same(found: str, known: str) -> bool:
    return hmac.compare_digest(found.encode(), known.encode())


def apr1(password: bytes, known: str) -> str:
    """Apache's MD5: 1000 rounds over a salt of at most eight characters."""
    salt = known[6:].partition("$")[0][:8].encode()
    final = md5(password + salt + password).digest()
    start = password + b"$apr1$" + salt + (final * (len(password) // 16 + 1))[: len(password)]
    left = len(password)
    while left:
        start += b"\0" if left & 1 else password[:1]
        left >>= 1
    # Apache takes the first byte of `final` after it was zeroed: a zero.
    final = md5(start).digest()
    for number in range(1000):
        turn = password if number & 1 else final
        turn += salt if number % 3 else b""
        turn += password if number % 7 else b""
        turn += final if number & 1 else password
        final = md5(turn).digest()
    written = "".join(_letters(final[a] << 16 | final[b] << 8 | final[c], 4) for a, b, c in _ORDER)
    return f"$apr1${salt.decode()}${written}{_letters(final[11], 2)}"


def _letters(value: int, size: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(size))


def _sha(password: bytes, _known: str) -> str:
    return "{SHA}" + b64encode(sha1(password).digest()).decode()


def _ssha(password: bytes, known: str) -> str:
    try:
        salt = b64decode(known[6:], validate=True)[20:]
    except ValueError:
        salt = b""
    return "{SSHA}" + b64encode(sha1(password + salt).digest() + salt).decode()


def _plain(password: bytes, _known: str) -> str:
    return "{PLAIN}" + password.decode("utf-8", "replace")
