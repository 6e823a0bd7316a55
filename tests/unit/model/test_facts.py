"""Facts of objects are those that each object has, however the collection came about."""

from __future__ import annotations

from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from emulab.kinds.registry import POD
from emulab.model.collection import Objects
from emulab.model.facts import Facts
from emulab.model.keys import Key
from emulab.model.objects import Object

asked: list[str] = []


def label(o: Object) -> str | None:
    asked.append(o.name)
    return o.labels.get("a")


def obj(name: str, value: str | None) -> Object:
    labels = {} if value is None else {"a": value}
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
        }
    )


names, values = st.sampled_from("abcde"), st.sampled_from(["1", "2", None])
changes = st.lists(st.tuples(names, st.one_of(st.none(), st.tuples(values))), max_size=4)


@examples(200)
@given(st.lists(changes, max_size=6))
def test_facts_follow_the_objects(steps: list[list[tuple[str, tuple[str | None] | None]]]) -> None:
    facts, there = Facts(), dict[Key, Object]()
    before = facts.of(POD, {}, label)
    for step in steps:
        old, there = there, dict(there)
        for name, put in step:
            key = POD.key("default", name)
            if put is None:
                there.pop(key, None)
            else:
                there[key] = obj(name, put[0])
        asked.clear()
        found = facts.of(POD, there, label)
        assert list(found.items()) == [
            (k, v) for k, o in there.items() if (v := o.labels.get("a")) is not None
        ]
        assert len(asked) == sum(old.get(k) is not o for k, o in there.items()), "those alone that changed"
        same = all(there.get(k) is o for k, o in old.items()) and len(there) == len(old)
        assert not same or found is before
        before = found


def test_the_same_collection_is_not_looked_at_again() -> None:
    objects = Objects([obj("x", "1"), obj("y", None)])
    first = objects.facts(POD, label)
    asked.clear()
    assert objects.facts(POD, label) is first and asked == []
    assert objects.facts("Nothing", label) == {}


def test_what_is_made_of_the_same_is_made_once() -> None:
    facts, made, part = Facts(), list[int](), object()

    def make() -> int:
        made.append(1)
        return len(made)

    assert [facts.made("n", (part,), make), facts.made("n", (part,), make)] == [1, 1]
    assert facts.made("n", (object(),), make) == 2
    assert facts.made("n", (part, part), make) == 3
    assert facts.made("other", (part, part), make) == 4
