"""What filters do to requests and responses: a line of the table for each, by its type in `config.filters`. Pure.

Rules:

* A filter becomes a function when the configuration is taken; what can't be done is refused then.
* Who answers is asked before there is an upstream, in the order of the route's filters; the first answer counts. Then
  gates are asked in the same way, which may have to ask the world outside first.
* Who changes a request is given its head as the personality wrote it, and who changes a response all fields that the
  client is to see; so what is set is there once, whoever would have said it.

* `effect`: what the functions are given, and the shape of a line.
* `fields`, `places`: as in the Gateway API: header fields; hosts and paths.
* `answers`, `requests`, `responses`, `compression`: as nginx does it; `variables`: what texts may name.
* `access`, with `basic` and `external`: who may in; `limits`: how often.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import (
    CORS,
    AccessControl,
    AnswerFields,
    ClientLimits,
    CookieDomain,
    CookiePath,
    DirectResponse,
    ErrorPages,
    Filter,
    Gzip,
    HiddenFields,
    HostRedirect,
    LocationChange,
    Match,
    Mirror,
    Refusal,
    RegexRewrite,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    RootRedirect,
    UpstreamFields,
    URLRewrite,
)
from emulab.servers.l7.engine.filters import (
    access,
    answers,
    compression,
    fields,
    limits,
    places,
    requests,
    responses,
)
from emulab.servers.l7.engine.filters.effect import (
    Asked,
    Effect,
    Gate,
    GateQuestion,
    Incoming,
    Outgoing,
    OwnAnswer,
    Page,
    RequestChange,
    ResponseChange,
)
from emulab.servers.l7.engine.kept import EngineMemory

FILTERS: Mapping[type[Filter], Effect] = {
    RequestHeaderModifier: Effect(request=fields.request_fields),
    ResponseHeaderModifier: Effect(response=fields.response_fields),
    URLRewrite: Effect(request=places.rewrite),
    RequestRedirect: Effect(answer=places.redirect),
    Refusal: Effect(answer=access.refusal, early=True),
    ClientLimits: Effect(gate=limits.client_limits),
    AccessControl: Effect(
        gate=access.access_control,
        request=access.access_request,
        response=access.access_response,
        own=True,
    ),
    RootRedirect: Effect(answer=answers.root_redirect, early=True),
    CORS: Effect(answer=answers.preflight, response=answers.allow_origins, own=True, early=True),
    DirectResponse: Effect(answer=answers.direct_response, early=True),
    HostRedirect: Effect(answer=answers.host_redirect, early=True),
    RegexRewrite: Effect(answer=requests.rewrite_elsewhere, request=requests.rewrite, early=True),
    UpstreamFields: Effect(request=requests.upstream_fields),
    HiddenFields: Effect(response=responses.hidden_fields),
    CookieDomain: Effect(response=responses.cookie_domain),
    CookiePath: Effect(response=responses.cookie_path),
    LocationChange: Effect(response=responses.location_change),
    AnswerFields: Effect(response=responses.answer_fields, own=True),
    Gzip: Effect(response=compression.gzip),
    Mirror: Effect(aside=True),
    ErrorPages: Effect(aside=True),
}


class Filters:
    """The filters of a route, ready to be used."""

    __slots__ = ("_answers", "_early", "_everywhere", "_gates", "_own", "_requests", "_responses")

    def __init__(self, filters: tuple[Filter, ...], match: Match) -> None:
        """Raises `BadConfiguration`, which names the filter."""
        if {URLRewrite, RequestRedirect} <= {type(one) for one in filters}:
            raise BadConfiguration("filters: who redirects a request can't rewrite it, too")
        self._answers: list[OwnAnswer] = []
        self._early: list[OwnAnswer] = []
        self._requests: list[RequestChange] = []
        self._responses: list[ResponseChange] = []
        self._own: list[ResponseChange] = []
        self._everywhere: list[ResponseChange] = []  # what pages of errors by another upstream have, too
        self._gates: list[Gate] = []
        for index, one in enumerate(filters):
            try:
                self._add(one, match)
            except BadConfiguration as wrong:
                raise BadConfiguration(f"filters[{index}].{wrong}") from None

    def _add(self, one: Filter, match: Match) -> None:
        effect = FILTERS[type(one)]
        if effect.answer is not None:
            (self._early if effect.early else self._answers).append(effect.answer(one, match))
        if effect.gate is not None:
            self._gates.append(effect.gate(one, match))
        if effect.request is not None:
            self._requests.append(effect.request(one, match))
        if effect.response is not None:
            response = effect.response(one, match)
            self._responses.append(response)
            if effect.own:
                self._own.append(response)
            if _is_everywhere(one):
                self._everywhere.append(response)

    @property
    def answers(self) -> bool:
        """Whether one of them answers by itself."""
        return bool(self._answers or self._early)

    @property
    def gated(self) -> bool:
        """Whether one of them decides who may in."""
        return bool(self._gates)

    @property
    def changes_requests(self) -> bool:
        """Whether one of them has a say in what goes to the upstream."""
        return bool(self._requests)

    @property
    def changes_pages(self) -> bool:
        """Whether one of them has a say in answers of our own."""
        return bool(self._own)

    def early_answer(self, asked: Asked) -> Page | None:
        """What is answered before a client is sent to TLS, if anything is."""
        return next((page for one in self._early if (page := one(asked)) is not None), None)

    def answer(self, asked: Asked) -> Page | None:
        """What is answered without an upstream, if anything is."""
        return next((page for one in self._answers if (page := one(asked)) is not None), None)

    def may_in(self, asked: Asked, kept: EngineMemory) -> Generator[GateQuestion, Any, Page | None]:
        """Why a request may not in, if it may not; each question that is yielded gets its answer sent."""
        for gate in self._gates:
            if (page := (yield from gate(asked, kept))) is not None:
                return page
        return None

    def request(self, written: bytes, asked: Asked) -> bytes:
        """The head of a request, whole, as the upstream gets it."""
        if not self._requests:
            return written
        start, *lines, end = written.splitlines(keepends=True)
        method, target, version = start.split(b" ")
        outgoing = Outgoing(asked, target, lines)
        for one in self._requests:
            one(outgoing)
        return b"".join([method, b" ", outgoing.target, b" ", version, *outgoing.lines, end])

    def response(self, incoming: Incoming, replaced: bool = False) -> None:
        """Has the fields of an upstream's response as the client gets them; `replaced`: in the place of an error."""
        for one in self._everywhere if replaced else self._responses:
            one(incoming)

    def page(self, incoming: Incoming, replaced: bool = False) -> list[bytes]:
        """More fields of an answer of our own; there are none but those that it has in `lines`."""
        for one in self._own:
            if not replaced or one in self._everywhere:
                one(incoming)
        return incoming.lines


def _is_everywhere(one: Filter) -> bool:
    """Whether a filter is of all locations: who answers in the place of errors is a location of its own to nginx, to
    which that of the route says nothing, CORS included."""
    return isinstance(one, HiddenFields | Gzip) or (isinstance(one, AnswerFields) and one.spoken)
