"""What packets say that begin with a PROXY header."""

from __future__ import annotations

import pytest

from emulab.observe.join.proxyheaders import split_header
from emulab.servers.wire.proxyheader import proxy_header

ENDS = ("192.0.2.1", 1000), ("203.0.113.10", 80)
SIX = ("2001:db8::1", 1000, 0, 0), ("2001:db8::2", 80, 0, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_and_what_follows(version: int) -> None:
    rest = b"GET / HTTP/1.1\r\n"
    said = f"PROXY v{version} of"
    assert split_header(proxy_header(version, *ENDS) + rest) == (f"{said} 192.0.2.1:1000", rest)
    assert split_header(proxy_header(version, *SIX) + rest) == (f"{said} [2001:db8::1]:1000", rest)
    assert split_header(proxy_header(version) + rest) == (f"PROXY v{version}", rest)
    assert split_header(rest) == ("", rest)


def test_a_header_that_is_cut_short() -> None:
    whole = proxy_header(2, *ENDS)
    assert [split_header(whole[:size])[0] for size in (5, 16, 27)] == ["", "PROXY v2", "PROXY v2"]
