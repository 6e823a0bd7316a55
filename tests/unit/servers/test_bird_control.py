"""What BIRD says of its sessions."""

from __future__ import annotations

import pytest
from server_records import Told

from emulab.servers.bgp.config import BgpPeer
from emulab.servers.crew.remote import ANSWER
from emulab.servers.engines.bird import server
from emulab.servers.engines.bird.control import BgpSession, StandingSessions, missing, patience, sessions

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
    Neighbor address: 10.0.0.12
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
        "Mesh_10_0_0_12": BgpSession("Established", 2, "10.0.0.12"),
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


def test_patience_grows_with_routes_and_ends_before_who_waits_gives_up() -> None:
    one, many = BgpPeer("a", "10.0.0.2", least=1), BgpPeer("b", "10.0.0.1", least=1999)
    assert patience([]) == 5 and patience([one]) == 5.05
    assert patience([many, many]) == 45 < ANSWER


def test_sessions_that_are_over_and_up_again_are_told_once() -> None:
    up = {name: BgpSession("Established", 1, f"10.0.0.{n}") for n, name in enumerate("abc", start=1)}
    down = {**up, "b": BgpSession("Active", 0, "10.0.0.2")}
    standing = StandingSessions()
    assert standing.changes(up) == [], "nobody is expected"
    standing.expect(up, {"10.0.0.1", "10.0.0.2"})
    assert standing.changes(down) == [("10.0.0.2", False)]
    assert standing.changes(down) == []
    assert standing.changes(up) == [("10.0.0.2", True)]
    assert standing.changes({}) == [("10.0.0.1", False), ("10.0.0.2", False)]
    standing.expect({}, {"10.0.0.1"})
    assert standing.changes(up) == [("10.0.0.1", True)], "of the other nobody speaks any more"


def test_of_whoever_calls_the_router_tells() -> None:
    standing = StandingSessions()
    standing.expect({}, None)
    called = {"node_ipv4_1": BgpSession("Established", 1, "10.0.0.11")}
    assert standing.changes(called) == []
    assert standing.changes({}) == [("10.0.0.11", False)]
    assert standing.changes({"node_ipv4_2": called["node_ipv4_1"]}) == [("10.0.0.11", True)]


async def test_a_program_that_never_answers_is_said_to_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_BEGINNING", 0.05)
    with pytest.raises(ValueError, match=r"bird does not answer after 0\.05 s: .*control socket"):
        await server.BirdSpeaker(Told())._until_answering()
