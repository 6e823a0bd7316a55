"""What ingress-nginx' admission webhook has against an Ingress, in its words (`CheckIngress` of
internal/ingress/controller/controller.go, `ValidatePathType` of internal/ingress/inspector). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressview import Ingress
from emulab.model.paths import FieldPath

DENIED = 'admission webhook "validate.nginx.ingress.kubernetes.io" denied the request: '
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._\-/]*")
_CATCH_ALL = (
    "this deployment is trying to create a catch-all ingress while DisableCatchAll flag is set to true. Remove"
    " '.spec.defaultBackend' or set DisableCatchAll flag to false"
)


def invalid_paths(ingress: Ingress) -> Iterator[tuple[FieldPath, str]]:
    """Paths with characters of expressions, or any but the plainest, whose type doesn't allow for them."""
    for i, rule in enumerate(ingress.rules):
        for j, path in enumerate(rule.paths):
            if path.path_type != "ImplementationSpecific" and not _PLAIN_PATH.fullmatch(path.path):
                where: FieldPath = ("spec", "rules", i, "http", "paths", j, "path")
                yield where, f"path {path.path} cannot be used with pathType {path.path_type}"


def denied(ingress: Ingress, flags: ControllerFlags, strict_paths: bool) -> Iterator[tuple[FieldPath, str]]:
    """Why the webhook of a controller refuses an Ingress of its class."""
    if flags.watch_namespace not in ("", ingress.namespace):
        return
    if ingress.default_backend is not None and not flags.catch_all:
        yield ("spec", "defaultBackend"), DENIED + _CATCH_ALL
    elif strict_paths:
        for where, why in invalid_paths(ingress):
            yield where, f"{DENIED}ingress contains invalid paths: {why}"
