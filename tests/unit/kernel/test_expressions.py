"""tcpdump's filters, as tcpdump compiles them."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest

from emulab.errors import UserError
from emulab.kernel.expressions import compiled, everything


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="there is no tcpdump")
@pytest.mark.parametrize("expression", ["tcp port 80", "ip6 and udp", "host 10.0.0.1 or arp", "vlan"])
def test_a_program_is_tcpdumps(expression: str) -> None:
    framed, bare = (tcpdumps(expression, kind) for kind in ("EN10MB", "RAW"))
    plain = [(0x30, 0, 0, 0), (0x15, 2, 0, 0x45), (0x15, 1, 0, 0x60), (0x05, 0, 0, len(bare))]
    which = plain if bare else []
    assert list(struct.iter_unpack("=HBBI", compiled(expression, 2000))) == [*which, *bare, *framed]


def tcpdumps(expression: str, kind: str) -> list[tuple[int, ...]]:
    """The program for a kind of links; nothing where tcpdump has none for those."""
    words = ["tcpdump", "-ddd", "-s", "2000", "-y", kind, expression]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode and kind == "EN10MB":
        pytest.skip(done.stderr)  # an ordinary user's tcpdump asks for devices first
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()[1:]]


def test_what_is_no_expression() -> None:
    with pytest.raises(UserError, match="'tcp prt 80' is no filter of packets"):
        compiled("tcp prt 80", 100)
    assert struct.unpack("=HBBI", everything(7)) == (6, 0, 0, 7)
