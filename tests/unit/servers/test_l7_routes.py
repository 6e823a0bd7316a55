"""What a route says besides whom it matches: shares and its policy; and what is wrong to say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scripted import Script, has, page

from emulab.servers.configuration import BadConfiguration, from_json, to_json
from emulab.servers.l7.config import L7Config, Match, Policy, RequestRoute, Upstream, WeightedUpstream
from emulab.servers.l7.engine.snapshot import take

A, B = "10.0.0.1:80", "10.0.0.2:80"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
UPSTREAMS = {"a": Upstream((A,)), "b": Upstream((B,)), "none": Upstream()}


def script(*routes: RequestRoute, told: bool = False, **others: Any) -> Script:
    config = L7Config((), routes=routes, upstreams=UPSTREAMS, **others)
    assert from_json(L7Config, to_json(config)) == config
    return Script(take(config, {}), told=told)


def selected(play: Script) -> str:
    play.client(GET)
    address: str = next(argument for word, argument in play.machine.commands if word == "select")
    play.connected()
    play.upstream(b"HTTP/1.1 204 No Content\r\n\r\n")
    play.skip()
    return address


def test_shares_are_kept_and_spread() -> None:
    play = script(
        RequestRoute(
            Match(), (WeightedUpstream("a", 3), WeightedUpstream("b", 1), WeightedUpstream("none", 0))
        )
    )
    found = [selected(play) for _ in range(8)]
    assert Counter(found) == {A: 6, B: 2}
    assert found[:4] == found[4:] == [A, A, B, A], "not three and then one"


def test_the_share_of_an_upstream_without_servers_is_a_503() -> None:
    play = script(RequestRoute(Match(), (WeightedUpstream("none"), WeightedUpstream("a"))), told=True)
    play.skip()
    play.client(GET)
    play.expect(("send", page(503)), ("tell", has(upstream_name="none", upstream="")))
    play.client(GET)
    play.connected()
    play.upstream(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert play.taken()[-2] == ("tell", has(event="request", upstream_name="a", upstream=A))


def test_each_route_has_its_policy() -> None:
    slow = RequestRoute(
        Match(path="/slow"), (WeightedUpstream("a"),), policy=Policy(read_timeout=600.0, tries=1)
    )
    play = script(slow, RequestRoute(Match(), (WeightedUpstream("a"),)), policy=Policy(body_max=5))
    play.client(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    play.connected()
    assert play.deadline == 600
    play.skip()
    play.upstream_ended()
    play.expect(("send", page(502)))
    selected(play)
    assert play.deadline == 75
    play.client(GET)
    play.connected()
    assert play.deadline == 60


def test_the_policy_of_what_no_route_takes() -> None:
    play = script(policy=Policy(body_max=5), told=True)
    play.skip()
    play.client(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n")
    play.expect(("send", page(413)), ("tell", has(status=413, rule="", upstream_name="")), ("end", None))


def route(**match: Any) -> dict[str, Any]:
    return {"match": match, "backends": [{"upstream": "a"}], "origin": "Ingress d/i"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"personality": "apache"}, "config.personality: 'apache' is not one of ingress-nginx"),
        ({"rules": []}, 'config: unknown field "rules"'),
        ({"routes": [{"match": {}}]}, 'config.routes[0]: missing field "backends"'),
        (
            {"routes": [{"match": {"paht": "/"}, "backends": []}]},
            'config.routes[0].match: unknown field "paht"',
        ),
        (
            {"routes": [route(path_type="RegularExpression", path="/a(")]},
            "config.routes: the path of Ingress d/i: '^/a(' is no regular expression: missing )",
        ),
        (
            {"routes": [route(path_type="RegularExpression", path="/a{99999999999}")]},
            "'^/a{99999999999}' is no regular expression: the repetition number is too large",
        ),
        (
            {"routes": [route(), route(headers=[{"name": "a", "value": "[", "type": "RegularExpression"}])]},
            "config.routes[1].match.headers[0].value: '[' is no regular expression: unterminated character set",
        ),
        (
            {"routes": [route(query=[{"name": "a", "value": "*", "type": "RegularExpression"}])]},
            "config.routes[0].match.query[0].value: '*' is no regular expression: nothing to repeat",
        ),
        (
            {"routes": [route(query=[{"name": "a", "value": "b", "type": "Prefix"}])]},
            "config.routes[0].match.query[0].type: 'Prefix' is not one of Exact, RegularExpression",
        ),
    ],
)
def test_wrong_configurations_name_the_place(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        take(from_json(L7Config, {"listen": [], **wrong}), {})
    assert words in str(caught.value)
