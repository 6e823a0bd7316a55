"""What `cert` makes of its arguments, before anything is asked."""

from __future__ import annotations

import asyncio

import pytest

from emulab.errors import UserError
from emulab.python import Lab
from emulab.toolbox.certs import shown_certificate, split_target


@pytest.mark.parametrize("name", ["", ".example.com", "a..b", "a" * 64, "ä" * 70, "a\0b"])
def test_a_name_that_no_client_can_ask_for(name: str) -> None:
    asked = shown_certificate(Lab([]), "198.51.100.1", 443, "client", "default", name, 1.0)
    with pytest.raises(UserError, match=r"can't be a server name \(SNI\); give one with --servername"):
        asyncio.run(asked)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a.example", ("a.example", 443)),
        ("a.example:8443", ("a.example", 8443)),
        ("fd00::1", ("fd00::1", 443)),
        ("[fd00::1]", ("fd00::1", 443)),
        ("[fd00::1]:8443", ("fd00::1", 8443)),
    ],
)
def test_targets(text: str, target: tuple[str, int]) -> None:
    assert split_target(text) == target


@pytest.mark.parametrize("port", ["", "0", "65536", "x", "9" * 5000, "\u0661"])
def test_no_ports(port: str) -> None:
    with pytest.raises(UserError, match=" is no port"):
        split_target(f"a.example:{port}")
