"""`emulab create`: makes objects of files, or a few kinds of a few words, as kubectl does."""

from __future__ import annotations

import argparse
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

from emulab.cli.creating import add_dry_run, make, make_of_files, placed
from emulab.cli.kinds import find
from emulab.cli.usage import UsageError, add_files, add_namespace, natural
from emulab.errors import UserError
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CONFIG_MAP, DEPLOYMENT, NAMESPACE, SECRET

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

_SECRETS = {"generic": "Opaque", "tls": "kubernetes.io/tls"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab create [-l LAB] [-n NS] [--dry-run=client] [-o FORMAT] -f FILE |"
        " deployment NAME --image=IMAGE [--replicas N] [--port N] [-- CMD…] |"
        " configmap NAME [--from-literal=KEY=VALUE] [--from-file=[KEY=]FILE] |"
        " secret generic|tls NAME … | namespace NAME"
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="KIND NAME", help="deployment web, configmap settings, secret tls keys, …")
    add_files(parser)
    add("--image", action="append", default=[], help="of a deployment: a container's image; may be repeated")
    add("-r", "--replicas", type=natural, metavar="N", help="of a deployment: its Pods (default: 1)")
    add("--port", type=natural, metavar="N", help="of a deployment: its container's port")
    add(
        *("--from-literal",),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of a configmap or secret: a value; may be repeated",
    )
    add(
        *("--from-file",),
        action="append",
        default=[],
        metavar="[KEY=]FILE",
        help="of a configmap or secret: a file, or all in a folder; may be repeated",
    )
    add("--cert", metavar="FILE", help="of a secret tls: the certificate")
    add("--key", metavar="FILE", help="of a secret tls: its key")
    add_namespace(parser)
    add_dry_run(parser)


def run(options: argparse.Namespace) -> int:
    if bool(options.what) == bool(options.files):
        raise UsageError("create needs either -f FILE or KIND NAME")
    if options.files:
        _only(options, "-f FILE", ())
        return make_of_files(options)
    kind = find(options.what[0])
    if kind not in _MADE:
        known = ", ".join(made.singular for made in _MADE)
        raise UsageError(
            f"create makes of words: {known}; write a manifest of a {kind.kind}, and create -f it"
        )
    return make(options, _MADE[kind](options), "created")


def _deployment(options: argparse.Namespace) -> dict[str, Any]:
    """What `kubectl create deployment` makes (create_deployment.go)."""
    (name,) = _words(options, 1, "image", "replicas", "port", "command")
    if not options.image:
        raise UsageError('required flag(s) "image" not set')
    if len(options.image) > 1 and options.command:
        raise UsageError("cannot specify multiple --image options and command")
    containers: list[dict[str, Any]] = [{"image": image, "name": _name_of(image)} for image in options.image]
    if options.command:
        containers[0]["command"] = options.command
    if options.port is not None:
        containers[0]["ports"] = [{"containerPort": options.port}]
    labels = {"app": name}
    spec = {
        "replicas": 1 if options.replicas is None else options.replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": dict(labels)}, "spec": {"containers": containers}},
    }
    return {**placed(DEPLOYMENT, name, options.namespace, labels), "spec": spec}


def _name_of(image: str) -> str:
    """A container's name: the image's last word, without its tag or digest."""
    last = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return last.replace("_", "-").replace(".", "-").lower()


def _config_map(options: argparse.Namespace) -> dict[str, Any]:
    (name,) = _words(options, 1, "from_literal", "from_file")
    texts: dict[str, str] = {}
    binaries: dict[str, str] = {}
    for key, value in _values(options):
        try:
            texts[key] = value.decode()
        except UnicodeDecodeError:
            binaries[key] = b64encode(value).decode()
    data = {field: held for field, held in (("data", texts), ("binaryData", binaries)) if held}
    return {**placed(CONFIG_MAP, name, options.namespace), **data}


def _secret(options: argparse.Namespace) -> dict[str, Any]:
    which = options.what[1] if len(options.what) > 1 else ""
    if which not in _SECRETS:
        raise UsageError("write create secret generic NAME or create secret tls NAME")
    if which == "tls":
        _, name = _words(options, 2, "cert", "key")
        if not (options.cert and options.key):
            raise UsageError("a secret tls needs --cert FILE and --key FILE")
        values = {"tls.crt": _read(options.cert), "tls.key": _read(options.key)}
    else:
        _, name = _words(options, 2, "from_literal", "from_file")
        values = dict(_values(options))
    data = {key: b64encode(value).decode() for key, value in values.items()}
    return {**placed(SECRET, name, options.namespace), "type": _SECRETS[which], "data": data}


def _namespace(options: argparse.Namespace) -> dict[str, Any]:
    (name,) = _words(options, 1)
    return placed(NAMESPACE, name, options.namespace)


_MADE: dict[Kind, Callable[[argparse.Namespace], dict[str, Any]]] = {
    DEPLOYMENT: _deployment,
    CONFIG_MAP: _config_map,
    SECRET: _secret,
    NAMESPACE: _namespace,
}


def _words(options: argparse.Namespace, number: int, *taken: str) -> list[str]:
    """The words behind the kind. Raises UsageError where there are others, or options that it doesn't take."""
    words: list[str] = options.what[1:]
    if len(words) != number:
        raise UsageError(f"exactly one NAME is required, got {len(words) - number + 1}")
    _only(options, f"create {options.what[0]}", taken)
    return words


def _only(options: argparse.Namespace, what: str, taken: tuple[str, ...]) -> None:
    for given in ("image", "replicas", "port", "command", "from_literal", "from_file", "cert", "key"):
        if given not in taken and getattr(options, given) not in (None, []):
            raise UsageError(f"{what} takes no --{given.replace('_', '-').replace('command', '')}".rstrip())


def _values(options: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """What --from-literal and --from-file say, by key. Raises UserError."""
    for literal in options.from_literal:
        key, equals, value = literal.partition("=")
        if not (key and equals):
            raise UsageError(f"invalid literal source {literal}, expected key=value")
        yield key, value.encode()
    for given in options.from_file:
        key, equals, path = given.rpartition("=")
        file = Path(path)
        if file.is_dir() and not equals:
            yield from (
                (inner.name, _read(str(inner))) for inner in sorted(file.iterdir()) if inner.is_file()
            )
        else:
            yield key or file.name, _read(path)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
