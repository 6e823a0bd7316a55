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
    words = ["tcpdump", "-ddd", "-s", "2000", "-y", "EN10MB", expression]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(done.stderr)  # an ordinary user's tcpdump asks for devices first
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()[1:]]
    assert list(struct.iter_unpack("=HBBI", compiled(expression, 2000))) == rows


def test_what_is_no_expression() -> None:
    with pytest.raises(UserError, match="'tcp prt 80' is no filter of packets"):
        compiled("tcp prt 80", 100)
    assert struct.unpack("=HBBI", everything(7)) == (6, 0, 0, 7)
