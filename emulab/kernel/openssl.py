"""What Python's `ssl` has no word for: a server that asks for a client's certificate, and lets a wrong one pass.

nginx ends the handshake well whatever the certificate is, and answers 400 with the reason; `ssl` can only end it with
an alert. So OpenSSL itself is called, on the connection that `ssl` has made. Where that is inside Python's object is
looked up by its neighbour, the context, which is known; where it isn't found nothing is called.
"""

from __future__ import annotations

import _ssl
import ctypes
import os
import ssl
from functools import lru_cache
from typing import Any

from emulab.errors import KernelError

_VERIFY_PEER = 1
_SET_VERIFY_CERT_STORE = 106  # SSL_CTRL_SET_VERIFY_CERT_STORE
_CRL_CHECK, _CRL_CHECK_ALL = 0x4, 0x8
_WORD = ctypes.sizeof(ctypes.c_void_p)


def _pass(_right: int, _store: int | None) -> int:
    """What OpenSSL asks of each certificate of a chain: whether to go on. The verdict stays with the connection."""
    return 1


_GO_ON = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(_pass)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The OpenSSL that Python itself is linked with."""
    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("SSL_set_verify", None, (pointer, number, pointer)),
        ("SSL_set_verify_depth", None, (pointer, number)),
        ("SSL_ctrl", ctypes.c_long, (pointer, number, ctypes.c_long, pointer)),
        ("SSL_get0_param", pointer, (pointer,)),
        ("SSL_set_client_CA_list", None, (pointer, pointer)),
        ("SSL_load_client_CA_file", pointer, (ctypes.c_char_p,)),
        ("SSL_get_verify_result", ctypes.c_long, (pointer,)),
        ("SSL_CTX_get_cert_store", pointer, (pointer,)),
        ("X509_VERIFY_PARAM_set_flags", number, (pointer, ctypes.c_ulong)),
        ("X509_verify_cert_error_string", ctypes.c_char_p, (ctypes.c_long,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _word(address: int) -> int:
    return ctypes.c_size_t.from_address(address).value


def _connection(connection: ssl.SSLObject) -> int:
    """The `SSL *` of a connection. Raises `KernelError` where this Python's object isn't laid out as it is known."""
    inner: Any = getattr(connection, "_sslobj", None)
    fields = id(inner) + object.__basicsize__  # a weak reference, the connection, the context
    if inner is None or _word(fields + 2 * _WORD) != id(connection.context):
        raise KernelError("finding OpenSSL's connection in Python's", remedy="use CPython 3.11 to 3.13")
    return _word(fields + _WORD)


class Authorities:
    """Whose signature makes a client's certificate right, and who is revoked."""

    def __init__(self, authorities: str, revoked: str, depth: int) -> None:
        """Both are PEM. Raises `ssl.SSLError`, or `ValueError` for what is no certificate."""
        self._depth, self._revoked = depth, bool(revoked)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._file = os.memfd_create("authorities", os.MFD_CLOEXEC)
        with open(self._file, "wb", closefd=False) as file:
            file.write(f"{authorities}\n{revoked}\n".encode())
        self._path = f"/proc/self/fd/{self._file}"
        try:
            self._context.load_verify_locations(self._path)
        except OSError:
            os.close(self._file)
            self._file = -1
            raise

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def ask(self, connection: ssl.SSLObject) -> None:
        """Asks the client for a certificate; for who is told which host it wants. Raises `KernelError`."""
        library, target = _library(), _connection(connection)
        store = library.SSL_CTX_get_cert_store(_word(id(self._context) + object.__basicsize__))
        library.SSL_set_verify(target, _VERIFY_PEER, _GO_ON)
        library.SSL_set_verify_depth(target, self._depth)
        library.SSL_ctrl(target, _SET_VERIFY_CERT_STORE, 1, store)
        library.SSL_set_client_CA_list(target, library.SSL_load_client_CA_file(self._path.encode()))
        if self._revoked:
            library.X509_VERIFY_PARAM_set_flags(library.SSL_get0_param(target), _CRL_CHECK | _CRL_CHECK_ALL)


def verdict(connection: ssl.SSLObject) -> tuple[int, str]:
    """What OpenSSL thinks of the client's certificate: 0, or a number of its own and the reason."""
    library = _library()
    code = int(library.SSL_get_verify_result(_connection(connection)))
    return code, bytes(library.X509_verify_cert_error_string(code)).decode() if code else ""
