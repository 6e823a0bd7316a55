"""What gates ask the world outside, as values, and what they are told. Pure.

A question goes to the shell with the command `ASK`; its answer comes back as `Exchange.told`.
"""

from __future__ import annotations

from typing import NamedTuple


class PasswordQuestion(NamedTuple):
    """Whether a password is the one of a hash, as htpasswd(1) writes it. The answer: True, False, or None: no idea."""

    password: bytes
    hash: str


class RequestQuestion(NamedTuple):
    """What a server answers to a request of ours. The answer is a `ServiceAnswer`."""

    host: str  # an address, or a name that no search list completes
    port: int
    server_name: str  # for SNI; empty: plain HTTP
    request: bytes
    connect_timeout: float
    read_timeout: float

    @property
    def target(self) -> str:
        """The path that is asked for, with its query."""
        return self.request.split(b" ", 2)[1].decode("latin-1")


class ServiceAnswer(NamedTuple):
    """The head of a server's answer; status 0 with the reason where there was none."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    why: str = ""

    def first(self, name: str) -> str:
        """The value of the first field of this name; "" where there is none."""
        return next((value for known, value in self.fields if known.lower() == name), "")

    def every(self, name: str) -> list[str]:
        """The values of all fields of this name."""
        return [value for known, value in self.fields if known.lower() == name]
