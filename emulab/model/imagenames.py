"""The names of container images, as containerd and the kubelet read them.

`nginx` is short for `docker.io/library/nginx:latest`: who compares names compares what they are in full. The grammar is
that of github.com/distribution/reference. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_BARE_ID = re.compile(r"[0-9a-f]{64}")
_LONGEST = 255  # letters of a repository's name

DOCKER = "docker.io"
INVALID = "invalid reference format"
"""What the kubelet says of a name that is none."""


class ImageName(NamedTuple):
    """A name in full. One with a digest means an image whatever its tag says."""

    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def tagged(self) -> str:
        """The name by its tag alone; "" of a name that has none."""
        return f"{self.repository}:{self.tag}" if self.tag else ""


@lru_cache(maxsize=1024)
def image_name(text: str) -> ImageName | None:
    """What a name means; None where it is none. Without a tag and a digest it means the tag `latest`."""
    rest, at, digest = text.partition("@")
    path, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if (at and not _DIGEST.fullmatch(digest)) or (colon and not _TAG.fullmatch(tag)):
        return None
    repository = _repository(path + slash + last)
    if not repository:
        return None
    return ImageName(repository, tag or ("" if digest else "latest"), digest)


def _repository(name: str) -> str:
    """A repository's name in full; "" where it is none."""
    if _BARE_ID.fullmatch(name):
        return ""  # could be taken for an image's id
    first, slash, rest = name.partition("/")
    if not slash or not (set(first) & set(".:") or first == "localhost" or first != first.lower()):
        first, rest = DOCKER, name
    if first == "index.docker.io":
        first = DOCKER
    if first == DOCKER and "/" not in rest:
        rest = f"library/{rest}"
    if not _DOMAIN.fullmatch(first) or not _PATH.fullmatch(rest) or len(first) + len(rest) >= _LONGEST:
        return ""
    return f"{first}/{rest}"
