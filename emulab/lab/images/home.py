"""Where a user's images are: `$EMULAB_IMAGE_DIR`, else `/var/lib/emulab/images` for root, else the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

MEND = "set EMULAB_IMAGE_DIR to a folder of your own"


def images_folder() -> Path:
    """The folder, be it there or not. A supervisor asks before it is root of a user namespace of its own."""
    explicit = os.environ.get("EMULAB_IMAGE_DIR")
    if explicit:
        return Path(explicit).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/emulab/images")
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache and os.path.isabs(cache):  # any other is to be ignored (XDG Base Directory Specification)
        return Path(cache) / "emulab" / "images"
    return Path(os.path.expanduser("~")) / ".cache" / "emulab" / "images"
