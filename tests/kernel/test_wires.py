"""Wires that hold what they carry, as this kernel can do it."""

from __future__ import annotations

from namespaces import isolated

from emulab.kernel import delaytrial


@isolated
def test_a_wire_holds_packets_for_as_long_as_it_is_to() -> None:
    held = delaytrial.measured()
    # Never shorter; how much longer depends on who else works on this machine.
    assert 0.98 * delaytrial.DELAY < held.least <= held.middle < 4 * delaytrial.DELAY, held
