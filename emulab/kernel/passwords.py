"""crypt(3) of the machine: hashes of passwords by whatever methods its library has.

ctypes lets other threads run while it computes, unlike Python's own module, which newer versions don't have either.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

_DATA = 256 << 10
"""More than any `struct crypt_data` has: 32 KB in libxcrypt, 128 KB in older glibc."""


@lru_cache(maxsize=1)
def _library() -> Any:
    """crypt_r(3), in the library that has it; None where there is none."""
    for name in ("libcrypt.so.1", "libcrypt.so.2", None):
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return function
    return None


def crypt(password: bytes, setting: bytes) -> bytes | None:
    """The hash of a password by the method and salt of `setting`, which begins with `*` where there is no such method.

    None where the library knows no answer, or there is none.
    """
    function = _library()
    if function is None:
        return None
    found: bytes | None = function(password, setting, ctypes.create_string_buffer(_DATA))
    return found
