"""A balancer's engine that isn't installed is refused before anything is changed."""

from __future__ import annotations

import pytest

from emulab.errors import UserError
from emulab.lab import balancerengines
from emulab.lab.balancerengines import refuse_missing_programs
from emulab.model.objects import Object


def made(kind: str, spec: dict[str, object], group: str = "emulab.dev/v1", **annotations: str) -> Object:
    metadata = {"name": "x", "annotations": {f"balancer.emulab.dev/{k}": v for k, v in annotations.items()}}
    return Object({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    ("o", "where"),
    [
        (made("Cluster", {"balancers": {"engine": "haproxy+keepalived"}}), "spec.balancers.engine"),
        (made("LoadBalancer", {"engine": "haproxy+keepalived"}), "spec.engine"),
        (
            made("Service", {"type": "LoadBalancer"}, "v1", engine="haproxy+keepalived"),
            "annotation balancer.emulab.dev/engine",
        ),
    ],
)
def test_a_program_that_is_not_here_is_refused(
    o: Object, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"haproxy"}
    monkeypatch.setattr(balancerengines, "installed", lambda name: name if name in there else None)
    with pytest.raises(
        UserError, match=r"there is no keepalived on this host; .* apt install keepalived"
    ) as told:
        refuse_missing_programs([o])
    assert where in str(told.value)
    there.add("keepalived")
    refuse_missing_programs([o, made("LoadBalancer", {}), made("Service", {"type": "ClusterIP"}, "v1")])
