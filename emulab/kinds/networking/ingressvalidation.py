"""What ingress-nginx' admission webhook has against an Ingress, in its words (`CheckIngress` of
internal/ingress/controller/controller.go, `ValidatePathType` and `DeepInspect` of internal/ingress/inspector). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulab.kinds.networking.controllerflags import ANNOTATIONS_PREFIX, ControllerFlags
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


_MALICIOUS = re.compile(
    r"(?s:(?:alias|root).*;)|/etc/(?:passwd|shadow|group|nginx|ingress-controller)|/var/run/secrets|_by_lua"
)


def malicious_paths(ingress: Ingress) -> Iterator[tuple[FieldPath, str]]:
    """Paths by which somebody might mean to get at the controller's files, or at nginx' configuration."""
    for i, rule in enumerate(ingress.rules):
        for j, path in enumerate(rule.paths):
            if _MALICIOUS.search(path.path):
                why = f"invalid http path: invalid value found: {path.path}"
                where: FieldPath = ("spec", "rules", i, "http", "paths", j, "path")
                yield where, f"invalid rule in ingress {ingress.full_name}: {why}"


def is_inspected_out(ingress: Ingress, flags: ControllerFlags) -> bool:
    """Whether a controller leaves an Ingress alone for its paths, whoever let it in (`--deep-inspect`)."""
    return flags.deep_inspect and any(malicious_paths(ingress))


def misprefixed(ingress: Ingress, flags: ControllerFlags) -> Iterator[tuple[FieldPath, str]]:
    """Annotations with the usual prefix, where a controller has another one."""
    if flags.annotations_prefix == ANNOTATIONS_PREFIX:
        return
    what = (
        "this deployment has a custom annotation prefix defined. "
        f"Use '{flags.annotations_prefix}' instead of '{ANNOTATIONS_PREFIX}'"
    )
    for name in ingress.annotations:
        if name.startswith(f"{ANNOTATIONS_PREFIX}/"):
            yield ("metadata", "annotations", name), what


def inspected(ingress: Ingress, flags: ControllerFlags) -> Iterator[tuple[FieldPath, str]]:
    """Why the webhook of a controller refuses an Ingress of whatever class."""
    if flags.deep_inspect:
        for where, why in malicious_paths(ingress):
            yield where, f"{DENIED}invalid object: {why}"


def denied(ingress: Ingress, flags: ControllerFlags, strict_paths: bool) -> Iterator[tuple[FieldPath, str]]:
    """Why the webhook of a controller refuses an Ingress of its class."""
    if flags.watch_namespace not in ("", ingress.namespace):
        return
    if ingress.default_backend is not None and not flags.catch_all:
        yield ("spec", "defaultBackend"), DENIED + _CATCH_ALL
        return
    if strict_paths:
        for where, why in invalid_paths(ingress):
            yield where, f"{DENIED}ingress contains invalid paths: {why}"
    for where, why in misprefixed(ingress, flags):
        yield where, DENIED + why
