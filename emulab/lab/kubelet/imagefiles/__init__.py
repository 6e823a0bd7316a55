"""Programs that a container finds because of its image's name, although that image isn't here.

What a stand-in plays answers by itself; what people run beside that (`kubectl exec POD -- /agnhost connect …`) is a
program in the pod. `binds` puts it into a container's root. A module of this package is such a program: a script that
needs the standard library alone, as it sees nothing of emulab.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from emulab.kernel.containers.root import Bind
from emulab.kinds.standins import files_of
from emulab.lab.folders.disk import writing

_HERE = Path(__file__).parent
_SCRIPTS = {"/agnhost": "agnhost.py", "/agnhost-2": "agnhost.py"}
"""By the path in a container."""


def binds(image: str, folder: Path) -> tuple[Bind, ...]:
    """What a container of an image sees beside the host's files; it is written into a folder of the lab's.

    Blocks. Raises KernelError.
    """
    return tuple(Bind(str(_written(target, folder)), target, read_only=True) for target in files_of(image))


def _written(target: str, folder: Path) -> Path:
    """The program's file, which is there whole or not at all."""
    path = folder / target.rpartition("/")[2]
    if path.exists():
        return path
    # `-I`: neither variables nor the folder of the script say what is imported; `-S`: no site-packages.
    text = f"#!{os.path.realpath(sys.executable)} -IS\n{(_HERE / _SCRIPTS[target]).read_text()}"
    fresh = path.with_name(f"{path.name}.new")
    with writing(path):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(path)
    return path
