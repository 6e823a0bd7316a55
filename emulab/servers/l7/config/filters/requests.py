"""Filters that change what upstreams are asked, in nginx's words: `rewrite`, `proxy_set_header`, `mirror`."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Variant
from emulab.servers.l7.config.filters.gateway import Field


@dataclass(frozen=True, slots=True)
class RegexRewrite(Variant):
    """A path in which the expression is found, whatever the case, becomes the target, which may name its groups.

    A target that is a URL sends the client there. `prefix` is what X-Forwarded-Prefix says; it may name groups, too.
    """

    expression: str
    target: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamFields(Variant):
    """Fields that an upstream gets, whose values may name variables; one whose value comes out empty isn't sent."""

    set: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Mirror(Variant):
    """Each request is sent to another server besides, whose answer nobody reads.

    `target` is a URL, which may name variables; of one without a path this is `path`.
    """

    target: str
    host: str
    path: str = "/"
    body: bool = True
