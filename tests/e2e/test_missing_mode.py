"""A proxy mode that this kernel can't do is refused before anything is built."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from emulab.kernel import probe

from .tools import TOPOLOGIES, emulab

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {proxy: {mode: ipvs}}
"""


@pytest.mark.privilege
async def test_up_names_what_ipvs_lacks_in_one_line_and_leaves_nothing(tmp_path: Path, run_dir: Path) -> None:
    possible = probe.proxy_modes(probe.features(run_dir))["ipvs"]
    name, file = f"e2e-{os.getpid()}-ipvs", tmp_path / "cluster.yaml"
    file.write_text(CLUSTER)
    done = await emulab("-l", name, "up", str(file), str(TOPOLOGIES / "nodeport.yaml"))
    if possible:
        assert done.status == 0, done.stderr.decode()
        done = await emulab("-l", name, "down")
        assert done.status == 0
        return
    (line,) = done.stderr.decode().splitlines()
    assert done.status == 1 and line.startswith("emulab: proxy mode ipvs can't work here: ")
    assert "IPVS" in line or "virtual server" in line
    assert "use a kernel with CONFIG_" in line or "run as root" in line
    labs = json.loads((await emulab("labs", "-o", "json")).text)
    assert name not in [lab["name"] for lab in labs]
