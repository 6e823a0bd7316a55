"""What a Cluster may not say that is benchmarked, as the benchmark varies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulab.bench import overlays, pathways
from emulab.cli.verbs.bench import _given
from emulab.errors import UserError

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {network: {FIELD: VALUE}}
"""


@pytest.mark.parametrize("varied", [overlays.VARIED, pathways.VARIED])
@pytest.mark.parametrize(("field", "value"), [("plugin", "calico"), ("mode", "vxlan"), ("cni", "ptp")])
def test_networks_are_the_benchmarks(
    tmp_path: Path, varied: tuple[tuple[str, str], ...], field: str, value: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CLUSTER.replace("FIELD", field).replace("VALUE", value))
    with pytest.raises(UserError, match=rf"c\.yaml:2: spec\.network\.{field}: bench x measures each of them"):
        _given([str(file)], "x", varied)
