"""TLS for connections that turn out to speak it: whoever sends a ClientHello first is answered in TLS.

A stand-in listens on ports of which nobody says what is spoken there. A TLS record of type handshake begins with 0x16
(RFC 8446, section 5.1), with which no request of HTTP can.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from emulab.servers.selfsigned import make_context, self_signed

if TYPE_CHECKING:
    from emulab.servers.echo.answers import Played

HANDSHAKE = 0x16
_READ = 1 << 16


@lru_cache(maxsize=1)
def context() -> ssl.SSLContext:
    """The context of all stand-ins: a certificate that signs itself, made once a process."""
    made = make_context(*self_signed("emulab", "stand-in", ["stand-in.emulab.dev"]))
    made.sni_callback = _note_name
    return made


@lru_cache(maxsize=256)
def context_of(certificate: str, key: str, authorities: str) -> ssl.SSLContext:
    """The context of a stand-in that plays a program with a certificate of its own. `authorities` vouch for clients,
    which may come without a certificate, too. One that can't be read is as none."""
    try:
        made = make_context(certificate, key)
        if authorities:
            made.load_verify_locations(cadata=authorities)
            made.verify_mode = ssl.CERT_OPTIONAL
    except (ssl.SSLError, ValueError):
        return context()
    made.sni_callback = _note_name
    return made


def secrets_of(played: Played | None) -> ssl.SSLContext | None:
    """The context of a program that is played, where it has a certificate of its own."""
    if played is None or "certificate" not in played.options:
        return None
    return context_of(*(played.options.get(name, "") for name in ("certificate", "key", "authorities")))


def _note_name(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
    """Keeps the name that a client asks for, which `ssl` tells a server nowhere else."""
    connection.asked_for = name or ""


_SUITE = re.compile(r"^(ECDHE|DHE)-(ECDSA|RSA)-(.*)$")


def go_suite(name: str) -> str:
    """A cipher suite's name as the IANA registered it, and Go has it, from OpenSSL's of TLS 1.2."""
    match = _SUITE.match(name)
    if match is None:
        return name  # TLS 1.3's are the same everywhere
    cipher = match[3].replace("AES128", "AES_128").replace("AES256", "AES_256").replace("-", "_")
    return f"TLS_{match[1]}_{match[2]}_WITH_{cipher.replace('CHACHA20_POLY1305', 'CHACHA20_POLY1305_SHA256')}"


class Secured(asyncio.Protocol):
    """Stands between a transport and a protocol, to which it is a transport itself."""

    def __init__(
        self, transport: asyncio.Transport, inner: asyncio.Protocol, secrets: ssl.SSLContext | None = None
    ) -> None:
        self._transport = transport
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = (secrets or context()).wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = self._ended = False

    @property
    def agreed(self) -> dict[str, Any]:
        """What client and server have agreed on, in the words of the conformance suites' echo server."""
        cipher = self._tls.cipher()
        found: dict[str, Any] = {
            "version": self._tls.version() or "",
            "serverName": getattr(self._tls, "asked_for", ""),
            "cipherSuite": go_suite(cipher[0]) if cipher else "",
        }
        if protocol := self._tls.selected_alpn_protocol():
            found["negotiatedProtocol"] = protocol
        if peer := self._tls.getpeercert(binary_form=True):
            found["peerCertificates"] = [ssl.DER_cert_to_PEM_cert(peer)]
        return found

    # towards the transport

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while not self._ended:
                piece = self._tls.read(_READ)
                if not piece:
                    self._end()
                    break
                self._inner.data_received(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the client has said that nothing more comes
            self._end()
        except ssl.SSLError:
            self._flush()  # the alert that tells the client why
            self._transport.close()
        self._flush()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if not self._inner.eof_received():
                self.close()

    def _flush(self) -> None:
        if not self._transport.is_closing() and (data := self._outgoing.read()):
            self._transport.write(data)

    # towards the protocol

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._tls.write(data)
        self._flush()

    def write_eof(self) -> None:
        """Says that nothing more comes: close_notify, and FIN."""
        self._farewell()
        self._transport.write_eof()

    def close(self) -> None:
        self._farewell()
        self._transport.close()

    def _farewell(self) -> None:
        with suppress(ssl.SSLError):  # the client's own farewell isn't waited for
            self._tls.unwrap()
        self._flush()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
