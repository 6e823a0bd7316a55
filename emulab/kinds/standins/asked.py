"""What a manifest asks of an image's program: its words, variables and ports, as far as it has them itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds.core.accounts import account_of
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, ContainerPort
from emulab.kinds.core.volumespec import VolumeMount


class Speech(NamedTuple):
    """What is said at a socket: which of `servers.echo.images`, and what that is told.

    `files` are options by the paths of the files in the container in which they stand. `timed`: how long the
    container lives makes a difference.
    """

    says: str
    options: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    timed: bool = False


Sockets = Mapping[tuple[str, int], Speech]
"""By protocol, TCP or UDP, and port."""


class ImageArguments(NamedTuple):
    words: tuple[str, ...]  # the program's arguments; its own name may stand first
    env: Mapping[str, str]
    ports: tuple[ContainerPort, ...]
    mounts: tuple[VolumeMount, ...] = ()

    def arguments(self, program: str) -> tuple[str, ...]:
        """The words without the program's own name."""
        own = bool(self.words) and self.words[0].rpartition("/")[2] == program
        return self.words[1:] if own else self.words


def asked_of(container: Container, fields: Mapping[str, str]) -> ImageArguments:
    """What is asked of a container's program, in which variables stand for what the manifest says of them."""
    env: dict[str, str] = {}
    for entry in container.env:
        path = ((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        if path is not None:
            env[entry["name"]] = fields.get(path, "")
        elif not entry.get("valueFrom"):
            env[entry["name"]] = expand(str(entry.get("value") or ""), env)
    words = tuple(expand(word, env) for word in container.words)
    return ImageArguments(words, env, container.ports, container.mounts)


def pod_fields(pod: Mapping[str, Any]) -> dict[str, str]:
    """What `fieldRef` may name of a Pod as it is stored, or of a template, which doesn't know its name."""
    metadata, spec, status = (pod.get(field) or {} for field in ("metadata", "spec", "status"))
    found = {f"metadata.{field}": str(metadata.get(field) or "") for field in ("name", "namespace", "uid")}
    found |= {f"metadata.labels['{k}']": str(v) for k, v in (metadata.get("labels") or {}).items()}
    found |= {f"metadata.annotations['{k}']": str(v) for k, v in (metadata.get("annotations") or {}).items()}
    found["spec.nodeName"] = str(spec.get("nodeName") or "")
    found["spec.serviceAccountName"] = account_of(spec)
    found |= {f"status.{field}": str(status.get(field) or "") for field in ("podIP", "hostIP")}
    return found


def options(words: Sequence[str], booleans: Collection[str] = ()) -> dict[str, str]:
    """The values of flags as Go reads them: `-flag value`, `--flag=value`, and `--flag` alone of those `booleans`."""
    return {name: value for name, value in _parts(words, booleans) if name}


def operands(words: Sequence[str], booleans: Collection[str] = ()) -> list[str]:
    """The words that are neither flags nor their values."""
    return [value for name, value in _parts(words, booleans) if not name]


def _parts(words: Sequence[str], booleans: Collection[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            yield "", word
        elif equals:
            yield name, value
        else:
            yield name, "true" if name in booleans else next(rest, "")


def is_true(text: str) -> bool:
    """As Go's strconv.ParseBool."""
    return text in ("1", "t", "T", "true", "TRUE", "True")


def number(text: str, default: int) -> int:
    """A port's number; `:80` and `0.0.0.0:80` name it as well."""
    last = text.rpartition(":")[2]
    return int(last) if last.isascii() and last.isdigit() and 0 < int(last) < 65536 else default
