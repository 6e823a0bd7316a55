"""A Secret of values and files, or of a certificate and its key."""

from __future__ import annotations

import argparse
from base64 import b64encode

from emulab.cli.creating import placed
from emulab.cli.made import read, values, words
from emulab.cli.usage import UsageError
from emulab.kinds.registry import SECRET

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

_SECRETS = {"generic": "Opaque", "tls": "kubernetes.io/tls"}


def manifest(options: argparse.Namespace) -> dict[str, Any]:
    which = options.what[1] if len(options.what) > 1 else ""
    if which not in _SECRETS:
        raise UsageError("write create secret generic NAME or create secret tls NAME")
    if which == "tls":
        _, name = words(options, 2, "cert", "key")
        if not (options.cert and options.key):
            raise UsageError("a secret tls needs --cert FILE and --key FILE")
        held = {"tls.crt": read(options.cert), "tls.key": read(options.key)}
    else:
        _, name = words(options, 2, "from_literal", "from_file")
        held = dict(values(options))
    data = {key: b64encode(value).decode() for key, value in held.items()}
    return {**placed(SECRET, name, options.namespace), "type": _SECRETS[which], "data": data}
