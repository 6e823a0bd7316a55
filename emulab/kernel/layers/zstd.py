"""Zstandard, by the C library that every Debian has (libzstd.so.1): Python has a module of its own from 3.14 on."""

from __future__ import annotations

import ctypes
from functools import cache

from emulab.errors import UserError

_WINDOW = 27
"""The base-2 logarithm of what a frame may ask to be remembered: 128 MiB, the library's own default."""
_WINDOW_LOG_MAX = 100  # ZSTD_d_windowLogMax


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        raise UserError(
            "a layer is compressed with zstd, and libzstd.so.1 isn't here: apt install libzstd1"
        ) from None
    library.ZSTD_createDCtx.restype = ctypes.c_void_p
    library.ZSTD_freeDCtx.argtypes = (ctypes.c_void_p,)
    library.ZSTD_DCtx_setParameter.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    library.ZSTD_DCtx_setParameter.restype = ctypes.c_size_t
    library.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, *(ctypes.POINTER(_Buffer),) * 2)
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    return library


class Decompressor:
    """Takes compressed octets and gives what they stand for, no more at once than is asked for."""

    def __init__(self) -> None:
        self._library = _library()
        self._context = self._library.ZSTD_createDCtx()
        self._check(self._library.ZSTD_DCtx_setParameter(self._context, _WINDOW_LOG_MAX, _WINDOW))
        self.unconsumed = b""
        self.complete = True  # no frame has begun, or the last one has ended

    def decompress(self, data: bytes, most: int) -> bytes:
        """What the octets give, `most` at once; what is left of them is `unconsumed`. Raises ValueError."""
        output = ctypes.create_string_buffer(most)
        source = _Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), 0)
        target = _Buffer(ctypes.cast(output, ctypes.c_void_p), most, 0)
        while target.position < most:
            before = source.position, target.position
            left = self._library.ZSTD_decompressStream(
                self._context, ctypes.byref(target), ctypes.byref(source)
            )
            self._check(left)
            self.complete = left == 0
            if (source.position, target.position) == before or (left == 0 and source.position == len(data)):
                break
        self.unconsumed = data[source.position :]
        return output.raw[: target.position]

    def _check(self, result: int) -> None:
        if self._library.ZSTD_isError(result):
            raise ValueError(self._library.ZSTD_getErrorName(result).decode())

    def close(self) -> None:
        if self._context:
            self._library.ZSTD_freeDCtx(self._context)
            self._context = None

    def __del__(self) -> None:
        self.close()


def check() -> None:
    """Raises UserError where the library isn't here."""
    _library()
