"""An object as it was given."""

from __future__ import annotations

from emulab.model.objects import Object


def test_a_view_is_read_once_and_is_nobody_elses() -> None:
    read: list[str] = []

    def name(o: Object) -> str:
        read.append("name")
        return o.name

    def labels(o: Object) -> list[str]:
        read.append("labels")
        return list(o.labels)

    o = Object({"kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}})
    assert [o.view(name), o.view(name), o.view(labels), o.view(labels), o.view(name)] == [
        "p",
        "p",
        ["a"],
        ["a"],
        "p",
    ]
    assert read == ["name", "labels", "name"]
    assert o.replace(metadata={"name": "q"}).view(name) == "q"
