"""What BIRD says of its sessions."""

from __future__ import annotations

from emulab.servers.bgp.config import BgpPeer
from emulab.servers.engines.bird.control import BgpSession, missing, sessions

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


def test_what_peers_have_still_to_do_is_said() -> None:
    one, top = BgpPeer("Mesh_1", "10.0.0.12", least=1), BgpPeer("Global_1", "10.0.0.1", least=20)
    up, few = BgpSession("Established", 20), BgpSession("Established", 12)
    assert not any(missing([one, top], {"Mesh_1": up, "Global_1": up}))
    found = missing([one, top], {"Mesh_1": BgpSession("Active", 0), "Global_1": few})
    assert str(found) == "no session with 10.0.0.12 (Mesh_1); 12 of 20 routes from 10.0.0.1 (Global_1)"
    assert str(missing([one], {})) == "no session with 10.0.0.12 (Mesh_1)"
