"""A ConfigMap of values and files: texts in `data`, all else in `binaryData`."""

from __future__ import annotations

import argparse
from base64 import b64encode

from emulab.cli.creating import placed
from emulab.cli.made import values, words
from emulab.kinds.registry import CONFIG_MAP

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any


def manifest(options: argparse.Namespace) -> dict[str, Any]:
    (name,) = words(options, 1, "from_literal", "from_file")
    texts: dict[str, str] = {}
    binaries: dict[str, str] = {}
    for key, value in values(options):
        try:
            texts[key] = value.decode()
        except UnicodeDecodeError:
            binaries[key] = b64encode(value).decode()
    data = {field: held for field, held in (("data", texts), ("binaryData", binaries)) if held}
    return {**placed(CONFIG_MAP, name, options.namespace), **data}
