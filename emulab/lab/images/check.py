"""What `emulab doctor` says of the images' store: whether images can be loaded, and run, from there."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

from emulab.errors import UserError
from emulab.kernel.feature import Feature
from emulab.kernel.folders import knows_all_users
from emulab.kernel.layers import zstd
from emulab.lab.images.home import MEND
from emulab.lab.images.store import opened_store


def image_check(folder: Path) -> Feature:
    """A feature that nobody needs who loads no images."""
    check = Feature("images", f"images of containers, kept in {folder}", False, MEND)
    try:
        opened_store(folder).images()
        place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not os.access(place, os.W_OK):
            return replace(check, problem=f"{place} is not writable")
        _try_whiteouts(place)
        zstd.check()
    except (UserError, OSError) as error:
        return replace(check, problem=str(error))
    return check


def _try_whiteouts(place: Path) -> None:
    """Whether what layers hide can be written down there: devices 0/0 and attributes. Raises OSError."""
    root = os.geteuid() == 0 and knows_all_users()
    with tempfile.TemporaryDirectory(dir=place, prefix=".emulab-check-") as scratch:
        os.mknod(f"{scratch}/whiteout", stat.S_IFCHR | 0o600, 0)
        os.setxattr(scratch, "trusted.overlay.opaque" if root else "user.overlay.opaque", b"y")
