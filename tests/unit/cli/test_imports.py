"""What a command loads: a test of forwarding calls `emulab exec` a thousand times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = frozenset(
    {
        "asyncio",
        "ctypes",
        "dataclasses",
        "inspect",
        "rich",
        "shutil",
        "subprocess",
        "typing",
        "yaml",
    }
)


def test_exec_loads_little(tmp_path: Path) -> None:
    """Nothing that takes longer to load than all else that the command does."""
    program = (
        "import sys\nfrom emulab.cli import main\nstatus = main()\nprint(*sys.modules)\nsys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "exec", "client", "--", "true"],
        *(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "EMULAB_RUN_DIR": str(tmp_path / "run")},
    )
    assert done.returncode == 1 and "is not up" in done.stderr, done
    loaded = set(done.stdout.split())
    assert "emulab.lab.client.programs" in loaded and not loaded & HEAVY


def test_up_leaves_manifests_to_the_lab() -> None:
    """It is the lab that checks them: whoever starts one needn't load the model, nor the YAML in it, too."""
    program = "import sys, emulab.cli.verbs.up\nprint(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert "emulab.lab.client.launch" in loaded
    assert not loaded & {"asyncio", "dataclasses", "emulab.cluster.admission.loader", "inspect", "yaml"}
