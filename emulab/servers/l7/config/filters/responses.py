"""Filters that change answers, in nginx's words: `proxy_cookie_domain`, `proxy_redirect`, `error_page`, `gzip`."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Variant
from emulab.servers.l7.config.filters.gateway import Field


@dataclass(frozen=True, slots=True)
class AnswerFields(Variant):
    """Fields of all answers, our own among them, in the place of those of the same name."""

    set: tuple[Field, ...]
    spoken: bool = False  # whether the values may name variables


@dataclass(frozen=True, slots=True)
class HiddenFields(Variant):
    """Fields of upstreams' answers that aren't passed on."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CookieDomain(Variant):
    """The domain of cookies becomes another; `old` is an expression after `~`."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class CookiePath(Variant):
    """The path of cookies that begins so begins otherwise; `old` is an expression after `~`."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class LocationChange(Variant):
    """A Location or Refresh that begins so begins otherwise; `old` is an expression after `~`."""

    old: str
    new: str
    relative: bool = False  # whether a new one without a host stays so


@dataclass(frozen=True, slots=True)
class ErrorPages(Variant):
    """Answers of these statuses, upstreams' and our own, are those of another upstream, which is asked for `/`.

    Without an upstream the answer is a 404. `fields` tell it of the request; the values may name variables.
    """

    statuses: tuple[int, ...]
    upstream: str = ""
    fields: tuple[Field, ...] = ()
    intercept: bool = True  # whether upstreams' answers are meant, too


@dataclass(frozen=True, slots=True)
class Gzip(Variant):
    """Answers of these types, and HTML, are compressed for clients that take it."""

    types: tuple[str, ...]  # `*`: any
    level: int = 1
    min_length: int = 256
    disable: str = ""  # an expression for User-Agents whose clients aren't sent any
