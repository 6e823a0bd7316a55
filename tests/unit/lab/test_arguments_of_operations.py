"""What operations take: the right values pass, others are refused in a line."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.errors import UserError
from emulab.lab.supervisor.arguments import (
    CHAINS,
    COUNT,
    FLAG,
    KEYS,
    NAME,
    PORT,
    PROTOCOL,
    SECONDS,
    SOURCES,
    WORD,
    ArgumentKind,
    check,
    listed,
    optional,
    takes,
)

MANIFEST = "kind: Pod\nmetadata: {name: ü}\n"


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (
            SOURCES,
            [[], [["a.yaml", MANIFEST]]],
            [None, "", [["a"]], [["a", 1]], [["a", "\ud800"]], [["a", "b", "c"]], {}],
        ),
        (KEYS, [[], [["", "Pod", "", "x"]]], [[["Pod", "", "x"]], ["Pod"], [["", "Pod", "", "x\ny"]]]),
        (
            NAME,
            ["", "pod/x", "ü", "a" * 1000],
            ["a" * 1001, "a\n", "\x1b[2J", "\0", 5, None, ["a"], "\ud800"],
        ),
        (
            WORD,
            ["service-ULMVA6XW-ns1/svc1/tcp/p80"],
            ["", "x; flush ruleset", "a b", "{", "a\nb", 'a"', "#", 1],
        ),
        (COUNT, [0, 1, (1 << 31) - 1], [-1, True, 1.0, 1 << 31, "1", None, float("nan")]),
        (PORT, [0, 65535], [65536, -1, True, "80"]),
        (SECONDS, [0, 0.5, 60], [-1, float("nan"), float("inf"), 10**400, True, "60", [60]]),
        (FLAG, [True, False], [0, 1, "true", None]),
        (PROTOCOL, ["tcp", "udp"], ["TCP", "", None, ["tcp"]]),
        (listed(PORT), [[], [1, 2]], [1, [1, "2"], None]),
        (CHAINS, [[["client", "ip", "nat", "x"]]], [[["client", "ip", "nat", "x;y"]]]),
        (optional(FLAG), [None, True], ["", 0]),
    ],
)
def test_kinds(kind: ArgumentKind, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        check({"op": "do", "it": value}, it=kind)
    for value in wrong:
        with pytest.raises(UserError) as refused:
            check({"op": "do", "it": value}, it=kind)
        assert str(refused.value) == f"the operation do takes as it {kind.words}"


def test_what_is_missing_and_what_is_too_much() -> None:
    check({"op": "do"}, it=optional(FLAG))
    with pytest.raises(UserError, match=r"^the operation do takes as it true or false$"):
        check({"op": "do"}, it=FLAG)
    with pytest.raises(
        UserError, match=r"^the operation do takes no 'x\\ny'; is the lab of another version\?$"
    ):
        check({"op": "do", "x\ny": 1})


async def test_a_method_is_not_run_with_what_it_does_not_take() -> None:
    class Operations:
        @takes(it=FLAG)
        async def do(self, arguments: dict[str, Any], more: str) -> str:
            return f"{arguments['it']} {more}"

    assert await Operations().do({"op": "do", "it": True}, "more") == "True more"
    with pytest.raises(UserError):
        await Operations().do({"op": "do", "it": 1}, "more")
