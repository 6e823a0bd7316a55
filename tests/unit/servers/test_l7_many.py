"""Many routes: one of them changes, and finding one takes no longer than among few."""

from __future__ import annotations

import json
from typing import Any

import pytest
import test_ingress_harness as harness
from hypothesis import given
from hypothesis import strategies as st
from test_ingress_harness import World, routed

from emulab.servers.configuration import BadConfiguration, from_json, json_bytes
from emulab.servers.exposition import Histogram
from emulab.servers.l7.config import (
    ClientLimits,
    L7Config,
    Match,
    RequestLimit,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.changing import with_routes
from emulab.servers.l7.engine.snapshot import Snapshot, take
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.response import HEAD_MAX, HEADS_MAX, UpstreamResponse
from emulab.servers.l7.personalities.ingress_nginx import PERSONALITY
from emulab.servers.patches import patch_between

world = harness.world

HOSTS, PATHS = ("a", "*.b", "x.b", "", "~^y"), ("/", "/p", "/p/", "/p/q", "/pq")
TYPES = ("Exact", "Prefix", "ImplementationSpecific")
ZONES = ((), (ClientLimits(requests=(RequestLimit("slow", 1, 1),)),))
ROUTES = st.builds(
    lambda host, path, kind, upstream, origin, filters: RequestRoute(
        Match(host, path, kind), (WeightedUpstream(upstream),), origin, filters
    ),
    st.sampled_from(HOSTS),
    st.sampled_from(PATHS),
    st.sampled_from(TYPES),
    st.sampled_from(("one", "two")),
    st.sampled_from(("", "Ingress d/a", "Ingress d/b")),
    st.sampled_from(ZONES),
)
UPSTREAMS = {"one": Upstream(("10.0.0.1:80",)), "two": Upstream(("10.0.0.2:80",))}


def told(routes: list[RequestRoute]) -> L7Config:
    return L7Config((), routes=tuple(routes), upstreams=UPSTREAMS)


def asked(snapshot: Snapshot) -> list[str | None]:
    """Who gets each of some requests."""
    found: list[str | None] = []
    for host in (b"a", b"x.b", b"y.b", b"z"):
        for path in (b"/", b"/p", b"/p/", b"/p/q/r", b"/pq", b"/pqr"):
            head = RequestHead()
            head.target = path
            rule = snapshot.routes.match(host, head)
            group = rule.pick() if rule is not None else None
            found.append(group.name if group is not None else None)
    return found


@given(st.lists(ROUTES, max_size=5), st.lists(ROUTES, max_size=3), st.integers(0, 5), st.integers(0, 5))
def test_some_routes_that_change_come_to_what_all_of_them_do(
    old: list[RequestRoute], fresh: list[RequestRoute], begin: int, more: int
) -> None:
    begin = min(begin, len(old))
    end = min(begin + more, len(old))
    before = take(told(old), {})
    asked(before)  # which fills memos
    config = told([*old[:begin], *fresh, *old[end:]])
    changed, whole = with_routes(before, config, begin, end), take(config, {})
    assert asked(changed) == asked(whole)
    assert [rule.route for rule in changed.ready] == list(config.routes)
    assert (changed.hosts, changed.origins, changed.zones) == (whole.hosts, whole.origins, whole.zones)


@given(st.lists(ROUTES, max_size=5), st.lists(ROUTES, max_size=5))
def test_a_change_comes_to_what_a_new_beginning_does(
    old: list[RequestRoute], fresh: list[RequestRoute]
) -> None:
    before = take(told(old), {})
    assert asked(before) == asked(take(told(old), {}))  # which fills memos
    changed = told([*old[1:], *fresh])
    after = take(changed, before.groups, before=before)
    assert asked(after) == asked(take(changed, {}))
    kept = {id(one.route): one for one in before.ready}
    assert all(kept[id(one.route)] is one for one in after.ready if id(one.route) in kept)


def test_routes_are_made_anew_for_upstreams_that_are() -> None:
    route = RequestRoute(Match("a", "/", "Prefix"), (WeightedUpstream("one"),))
    before = take(told([route]), {})
    moved = L7Config((), routes=(route,), upstreams={"one": Upstream(("10.0.0.9:80",))})
    (ready,) = take(moved, before.groups, before=before).ready
    group = ready.pick()
    assert group is not None and group.servers == ("10.0.0.9:80",)


def rules(*hosts: str) -> list[dict[str, Any]]:
    return [{"host": host, "path": "/", "path_type": "Prefix", "upstream": "up"} for host in hosts]


async def test_a_patch_is_followed_and_a_wrong_one_changes_nothing(world: World) -> None:
    _, address = await world.backend()
    await world.configure(rules=rules("a", "b", "c"), upstreams={"up": {"servers": [address]}})
    old = from_json(L7Config, routed(**{**world.config, "rules": rules("a", "b", "c")}))
    new = from_json(L7Config, routed(**{**world.config, "rules": rules("a", "new", "c")}))
    patch = patch_between(old, new)
    assert patch is not None
    world.server.patch(json.loads(json_bytes(patch)))  # type: ignore[attr-defined]
    assert [(await world.get(host=host)).status for host in ("a", "b", "new", "c")] == [200, 404, 200, 200]
    with pytest.raises(BadConfiguration, match="routes"):
        world.server.patch({"routes": {"from": 0, "to": 9, "values": []}})  # type: ignore[attr-defined]
    assert (await world.get(host="new")).status == 200


def read(data: bytes, to_head: bool = False) -> tuple[Any, ...]:
    reader = UpstreamResponse()
    reader.begin(to_head, PERSONALITY.response_fields)
    reader.feed(data, 8192)
    return (
        *(
            reader.status,
            reader.head.reason,
            reader.head.old,
            reader.head.start,
            reader.lines,
            reader.framing,
        ),
        *(reader.head.connection, reader.head.upgrade),
        *(reader.bodiless, reader.complete, reader.reusable, reader.pieces),
    )


@pytest.mark.parametrize("to_head", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nConnection: close, x\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_a_head_that_came_before_is_read_as_the_first_time(head: bytes, to_head: bool) -> None:
    PERSONALITY.response_fields.heads.clear()
    first = read(head, to_head)
    assert PERSONALITY.response_fields.heads
    assert read(head, to_head) == first
    PERSONALITY.response_fields.heads.clear()
    read(head, not to_head)
    assert read(head, to_head) == first


def test_heads_that_are_remembered_are_bounded() -> None:
    heads = PERSONALITY.response_fields.heads
    for number in range(HEADS_MAX + 10):
        read(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 0\r\n\r\n" % number)
    assert len(heads) <= HEADS_MAX
    heads.clear()
    read(b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 0\r\n\r\n" % (b"x" * HEAD_MAX))
    assert not heads


@given(st.lists(st.sampled_from((0.0, 0.5, 1.0, 1.5, 2.0, 9.0)), max_size=40))
def test_values_together_are_counted_as_one_by_one(values: list[float]) -> None:
    one, all_ = Histogram((0.5, 1.0, 2.0)), Histogram((0.5, 1.0, 2.0))
    for value in values:
        one.observe(value)
    all_.observe_all(values)
    assert (one.counts, one.sum) == (all_.counts, all_.sum)
