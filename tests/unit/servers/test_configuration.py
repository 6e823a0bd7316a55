"""What servers are told, as values and as plain data: the way there and back, and what is said of anything wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from ipaddress import ip_address
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from worlds import world

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import (
    BadConfiguration,
    Configuration,
    Variant,
    from_json,
    json_bytes,
    to_json,
)
from emulab.servers.dns.config import DnsConfig
from emulab.servers.echo.config import EchoConfig
from emulab.servers.health.config import HealthPolicy
from emulab.servers.kubeproxy.config import KubeProxyConfig
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig
from emulab.servers.l7.config import L7Config
from emulab.servers.told import read_told, told_bytes

CONFIGS: list[type[Configuration]] = [DnsConfig, EchoConfig, KubeProxyConfig, L4Config, L7Config]


@dataclass(frozen=True, slots=True)
class Wheel:
    size: float
    spokes: int = 32


class Mark(NamedTuple):
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Sack(Variant):
    what: str


@dataclass(frozen=True, slots=True)
class Crate(Variant):
    what: str = "tea"
    height: int = 1


@dataclass(frozen=True, slots=True)
class Cart:
    name: str
    wheels: tuple[Wheel, ...] = ()
    marks: tuple[Mark, ...] = ()
    named: Mapping[str, Wheel] = field(default_factory=dict)
    spare: Wheel | None = None
    lights: bool = True
    load: tuple[Sack | Crate, ...] = ()
    seat: Sack | Crate | None = None


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    arguments = get_args(kind)
    if kind is float:
        return st.floats(allow_nan=False)
    if is_dataclass(kind):
        return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})
    if isinstance(kind, type) and issubclass(kind, tuple):
        return st.builds(kind, *map(values, get_type_hints(kind).values()))
    if get_origin(kind) is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if get_origin(kind) is Mapping:
        keys = st.text(
            st.characters(codec="utf-8", exclude_characters="\n")
        )  # a file has each in a line of its own
        return st.dictionaries(keys, values(arguments[1]), max_size=3)
    if arguments:
        return st.one_of(st.none() if one is NoneType else values(one) for one in arguments)
    return st.from_type(kind)


@pytest.mark.parametrize("kind", CONFIGS)
@given(data=st.data())
@examples(12)
def test_every_configuration_comes_back_as_it_went(kind: type[Configuration], data: st.DataObject) -> None:
    value = data.draw(values(kind))
    assert from_json(kind, json.loads(json_bytes(value))) == value
    assert json.loads(json_bytes(value)) == to_json(value)
    assert from_json(kind, read_told(told_bytes(value))) == value


def test_what_is_planned_is_understood() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n"
    built = world(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n", service
    )
    assert {type(server.config) for server in built.servers.values()} == set(CONFIGS)
    for server in built.servers.values():
        assert from_json(type(server.config), json.loads(json_bytes(server.config))) == server.config
        assert from_json(type(server.config), read_told(told_bytes(server.config))) == server.config


def test_what_is_as_by_default_is_not_written() -> None:
    assert to_json(Cart("c")) == {"name": "c"}
    assert to_json(Cart("c", (Wheel(1.0, 32), Wheel(1.0, 30)), spare=Wheel(2))) == {
        "name": "c",
        "wheels": [{"size": 1.0}, {"size": 1.0, "spokes": 30}],
        "spare": {"size": 2},
    }
    assert to_json(Cart("c", marks=(Mark("m", 1.5),), named={"a": Wheel(1)}, lights=False)) == {
        "name": "c",
        "marks": [["m", 1.5]],
        "named": {"a": {"size": 1}},
        "lights": False,
    }


def test_one_of_several_things_tells_which_it_is() -> None:
    cart = Cart("c", load=(Crate(), Sack("corn"), Crate(height=2)), seat=Crate("ale"))
    assert to_json(cart) == {
        "name": "c",
        "load": [{"type": "Crate"}, {"type": "Sack", "what": "corn"}, {"type": "Crate", "height": 2}],
        "seat": {"type": "Crate", "what": "ale"},
    }
    assert from_json(Cart, json.loads(json_bytes(cart))) == cart
    assert from_json(Crate, to_json(Crate())) == Crate()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "config: an object is expected, not []"),
        ({}, 'config: missing field "name"'),
        ({"name": "c", "Name": 1}, 'config: unknown field "Name"'),
        ({"name": 1}, "config.name: a string is expected, not 1"),
        ({"name": None}, "config.name: a string is expected, not null"),
        ({"name": "c", "wheels": {}}, "config.wheels: a list is expected, not {}"),
        ({"name": "c", "wheels": [{"size": 1}, {"size": 1, "x": 0}]}, 'config.wheels[1]: unknown field "x"'),
        ({"name": "c", "wheels": [{"size": 1}, {"spokes": 1}]}, 'config.wheels[1]: missing field "size"'),
        ({"name": "c", "wheels": [{"size": True}]}, "config.wheels[0].size: a number is expected, not true"),
        (
            {"name": "c", "wheels": [{"size": 1, "spokes": 1.5}]},
            "config.wheels[0].spokes: an integer is expected, not 1.5",
        ),
        ({"name": "c", "named": {"a": {}}}, 'config.named.a: missing field "size"'),
        ({"name": "c", "spare": []}, "config.spare: an object is expected, not []"),
        (
            {"name": "c", "marks": [["a", 1], ["b"]]},
            "config.marks[1]: 2 values are expected (text, weight), not 1",
        ),
        ({"name": "c", "marks": [["a", "b"]]}, 'config.marks[0].weight: a number is expected, not "b"'),
        ({"name": "c", "load": [{}]}, 'config.load[0]: missing field "type"'),
        ({"name": "c", "load": [{"type": "Sack"}]}, 'config.load[0]: missing field "what"'),
        (
            {"name": "c", "load": [{"type": "Crate", "depth": 1}]},
            'config.load[0]: unknown field "depth"',
        ),
        ({"name": "c", "seat": {"type": ["Sack"]}}, 'config.seat.type: ["Sack"] is not one of Sack, Crate'),
        ({"name": "c", "seat": "Sack"}, 'config.seat: an object is expected, not "Sack"'),
        ({"name": "c", "lights": 0}, "config.lights: true or false is expected, not 0"),
    ],
)
def test_who_reads_says_where_something_is_wrong(wrong: Any, said: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        from_json(Cart, wrong)
    assert str(caught.value) == said


def test_who_writes_says_it_too() -> None:
    with pytest.raises(TypeError):
        Wheel(1.0, rim=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Wheel()  # type: ignore[call-arg]
    address: Any = ip_address("10.0.0.1")
    health = HealthPolicy(interval=1.0, timeout=1.0, rise=1, fall=1)
    frontend = FrontendConfig("roundrobin", (TargetConfig("a", address, 80),), health)
    with pytest.raises(
        BadConfiguration, match=r"config\.frontends\.tcp/10\.0\.0\.1/80\.targets\[0\]\.address: IPv4Address"
    ):
        json_bytes(L4Config.at({"tcp/10.0.0.1/80": frontend}))


def test_a_field_of_a_type_that_has_no_words_is_a_fault_of_the_program() -> None:
    @dataclass(frozen=True)
    class Odd:
        names: set[str]

    @dataclass(frozen=True)
    class Either:
        name: str | int

    with pytest.raises(TypeError, match="set"):
        from_json(Odd, {})
    with pytest.raises(TypeError, match="nothing says which"):
        from_json(Either, {})
