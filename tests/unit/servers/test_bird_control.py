"""What BIRD says of its sessions."""

from __future__ import annotations

from emulab.servers.engines.bird.control import BgpSession, sessions

TOLD = """\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     23:20:01.123

static1    Static     master4    up     23:20:01.123
  Channel ipv4
    State:          UP
    Routes:         1 imported, 0 exported, 1 preferred

Mesh_10_0_0_12 BGP        ---        up     23:20:01.456  Established
  Description:    Connection to BGP peer
  BGP state:          Established
    Neighbor AS:      64512
  Channel ipv4
    State:          UP
    Routes:         2 imported, 1 exported, 2 preferred

Global_10_0_0_1 BGP        ---        start  23:20:01.123  Active        Socket: Connection refused
  BGP state:          Active
  Channel ipv4
    State:          DOWN
"""


def test_sessions_and_their_routes() -> None:
    assert sessions(TOLD) == {
        "Mesh_10_0_0_12": BgpSession("Established", 2),
        "Global_10_0_0_1": BgpSession("Active", 0),
    }
    assert sessions("") == {}
